"""How SQLite is opened, whatever for, and what its failures mean to people."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from callboard.actors.errors import StoreUnavailable

BUSY_SECONDS = 5.0
"""A belt beside the writers' turn: for another program (a backup, a shell) that has the file locked for a moment."""

PRIVATE = 0o600

_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, nothing has to be restarted",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged: stop the server, keep a copy, and restore a backup "
    "or rescue what can be read with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "this is not a database file: check the store's url, or restore a backup",
    sqlite3.SQLITE_READONLY: "the database may not be written: check the owner and mode of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "the database can't be opened: check that its folder exists and may be written",
    sqlite3.SQLITE_PERM: "the database can't be opened: check the owner and mode of the file and its folder",
    sqlite3.SQLITE_BUSY: "another program holds the database locked",
    sqlite3.SQLITE_LOCKED: "another program holds the database locked",
    sqlite3.SQLITE_IOERR: "the disk reports an error or is full: check the machine's log and the free space",
}


def unavailable(error: sqlite3.Error, path: Path) -> StoreUnavailable:
    """Return the error to raise for one of SQLite's: its own words, the file, and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    advice = _ADVICE.get(code)
    return StoreUnavailable(f"{error} ({path})" + (f": {advice}" if advice else ""))


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside the block into `StoreUnavailable`. Wrong SQL is a bug and passes as it is."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError):
        raise
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise unavailable(error.orig, path) from error
        raise
    except sqlite3.Error as error:
        raise unavailable(error, path) from error


@contextmanager
def opening_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while files are opened inside the block into `StoreUnavailable`."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"the store can't be opened: {error.strerror or error} ({path}): check that its folder exists, "
            "that it may be written, and that the disk has room",
        ) from error


def make_private(path: Path) -> None:
    """Create the database file, readable by its owner only; SQLite gives its -wal and -shm the same mode.

    A file that exists already is never opened here: closing it would drop SQLite's own locks in this process.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        if file.exists() and file.stat().st_mode & 0o777 != PRIVATE:
            file.chmod(PRIVATE)


def connect(path: Path, *, writes: bool, own_thread: bool = True) -> sqlite3.Connection:
    """Open a connection in autocommit mode: transactions begin where we say BEGIN. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=own_thread)
    try:
        if writes:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute("PRAGMA journal_size_limit = 67108864")
        else:
            connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection
