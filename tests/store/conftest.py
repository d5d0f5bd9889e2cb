"""Give each test of the contract every store in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.store import QueueStore, Store
from callboard.actors.store.opening import open_store
from tests.store.made import NOW, QUEUE, url
from tests.support.postgres import PostgresServer


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "memory", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database(migrated=True)
    return "memory:" if request.param == "memory" else url(tmp_path / "callboard.db")


@pytest.fixture
def store(store_url: str, clock: Clock) -> Iterator[Store]:
    store = open_store(store_url, clock=clock)
    store.put_queue(QUEUE, "{}", "", NOW)
    yield store
    store.close()


@pytest.fixture
def owner(store: Store) -> Iterator[QueueStore]:
    owner, _ = store.own(QUEUE)
    yield owner
    owner.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file with the queue in it."""
    path = tmp_path / "callboard.db"
    store = open_store(url(path))
    store.put_queue(QUEUE, "{}", "", NOW)
    store.close()
    return path


@pytest.fixture
def opened(path: Path) -> Iterator[tuple[Store, QueueStore]]:
    """The SQLite store of `path`, owned."""
    store = open_store(url(path))
    owner, _ = store.own(QUEUE)
    yield store, owner
    owner.close()
    store.close()
