"""Give what must hold for every database each of them in turn."""

from collections.abc import Callable

import pytest

from tests.support.postgres import PostgresServer

StoreOptions = Callable[[], tuple[str, ...]]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store_options(request: pytest.FixtureRequest) -> StoreOptions:
    """What to give `Server` as arguments, so that it has a store of its own."""
    if request.param == "sqlite":
        return lambda: ()
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda: ("--store", postgres.new_database())
