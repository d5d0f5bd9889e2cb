"""Give every test the same quiet surroundings, and have the tests run side by side."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import killed_coverage
from tests.support.postgres import PostgresServer

TESTS_PER_CORE = 2
"""Most tests wait for processes more than they use a core."""


def pytest_configure() -> None:
    """Judge no example by the time it took: others run beside it."""
    settings.register_profile("callboard", deadline=None)
    settings.load_profile("callboard")


@pytest.hookimpl(trylast=True)  # coverage starts in this hook too, and xdist starts its processes in it, later still
def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the coverage data of processes that tests kill, and have SIGINT act in all that tests start."""
    if _only_hands_out(session.config):
        # Each process that runs tests measures itself and all that it starts, as one that runs them alone does.
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    else:
        killed_coverage.arrange()
    # A shell starts its background jobs with SIGINT ignored; they and all that they start would stay deaf to it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _only_hands_out(config: pytest.Config) -> bool:
    """Return whether this process runs no tests but has others run them."""
    return bool(config.getoption("tx", None)) and not hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run tests."""
    return TESTS_PER_CORE * (os.cpu_count() or 1)


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
