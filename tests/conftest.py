"""Give every test the same quiet surroundings."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support import killed_coverage
from tests.support.postgres import PostgresServer


def pytest_sessionstart() -> None:
    """Keep the coverage data of processes that tests kill, and have SIGINT act in all that tests start."""
    killed_coverage.arrange()
    # A shell starts its background jobs with SIGINT ignored; they and all that they start would stay deaf to it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop the developer's own CALLBOARD_… variables, which would override what a test sets."""
    for name in [name for name in os.environ if name.startswith("CALLBOARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests that only need a database; without fsync, which no SIGKILL can tell."""
    with PostgresServer("fsync=off") as server:
        yield server
