"""Give every test the same quiet surroundings."""

import os

import pytest

from tests.support import killed_coverage


def pytest_sessionstart() -> None:
    """Keep the coverage data of processes that tests kill."""
    killed_coverage.arrange()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop the developer's own CALLBOARD_… variables, which would override what a test sets."""
    for name in [name for name in os.environ if name.startswith("CALLBOARD_")]:
        monkeypatch.delenv(name)
