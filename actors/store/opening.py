"""Opens the store that a url names."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from callboard.actors.errors import SettingsError
from callboard.actors.store import Store
from callboard.actors.store.memory import MemoryStore
from callboard.actors.store.sqlite import SqliteStore
from callboard.actors.store.turn import WAIT_SECONDS
from callboard.conf.store_url import EXAMPLES, SQLITE, is_postgres, shown_url, trouble_with

if TYPE_CHECKING:
    from callboard.actors.store.postgres import PostgresStore

MEMORY = "memory:"


def microseconds() -> int:
    """Read the clock: microseconds since the epoch."""
    return time.time_ns() // 1_000


def open_store(url: str, *, clock: Callable[[], int] = microseconds, turn_seconds: float = WAIT_SECONDS) -> Store:
    """Open the store of this url, made or brought up to date first where needed.

    `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database` or `memory:` (a store of its own
    at every call). Open it after any fork. Raises `StoreUnavailable`, `StoreTooNew`, or `SettingsError` for a url of
    another kind.
    """
    if url == MEMORY:
        return MemoryStore(clock=clock)
    if is_postgres(url):
        return _open_postgres(url, clock)
    return SqliteStore(sqlite_path(url), clock=clock, turn_seconds=turn_seconds)


def migrate(url: str) -> bool:
    """Bring the store's schema up to date and return whether there was anything to do. Raises like `open_store`."""
    if url == MEMORY:
        return False
    store = _open_postgres(url, microseconds) if is_postgres(url) else SqliteStore(sqlite_path(url), clock=microseconds)
    store.close()
    return store.migrated


def preload(url: str) -> None:
    """Import what this store takes before processes are forked: they share it then, and start sooner."""
    if is_postgres(url):
        importlib.import_module("callboard.actors.store.postgres")


def sqlite_path(url: str) -> Path:
    """Return the file that the url names."""
    if not url.startswith(SQLITE) or url == SQLITE:
        raise SettingsError(f"store.url {shown_url(url)!r} is not known: write for example {EXAMPLES}")
    return Path(url.removeprefix(SQLITE))


def _open_postgres(url: str, clock: Callable[[], int]) -> "PostgresStore":
    if trouble := trouble_with(url):
        raise SettingsError(f"store.url {trouble}")
    # Late: the driver is an extra, and takes a while to load.
    from callboard.actors.store.postgres import PostgresStore  # noqa: PLC0415

    return PostgresStore(url, clock=clock)
