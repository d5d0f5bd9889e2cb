"""Opens the store that a url names."""

import time
from collections.abc import Callable
from pathlib import Path

from callboard.actors.errors import SettingsError
from callboard.actors.store import Store
from callboard.actors.store.memory import MemoryStore
from callboard.actors.store.sqlite import SqliteStore
from callboard.actors.store.turn import WAIT_SECONDS

SQLITE, MEMORY = "sqlite:///", "memory:"


def microseconds() -> int:
    """Read the clock: microseconds since the epoch."""
    return time.time_ns() // 1_000


def open_store(url: str, *, clock: Callable[[], int] = microseconds, turn_seconds: float = WAIT_SECONDS) -> Store:
    """Open the store of this url, made or brought up to date first where needed.

    `sqlite:///relative.db`, `sqlite:////absolute.db` or `memory:` (a store of its own at every call). Open it after any
    fork. Raises `StoreUnavailable`, `StoreTooNew`, or `SettingsError` for a url of another kind.
    """
    if url == MEMORY:
        return MemoryStore(clock=clock)
    return SqliteStore(sqlite_path(url), clock=clock, turn_seconds=turn_seconds)


def migrate(url: str) -> bool:
    """Bring the store's schema up to date and return whether there was anything to do. Raises like `open_store`."""
    if url == MEMORY:
        return False
    store = SqliteStore(sqlite_path(url), clock=microseconds)
    store.close()
    return store.migrated


def sqlite_path(url: str) -> Path:
    """Return the file that the url names."""
    if not url.startswith(SQLITE) or url == SQLITE:
        raise SettingsError(f"store.url {url!r} is not known: write for example sqlite:////var/lib/callboard/callboard.db")
    return Path(url.removeprefix(SQLITE))
