"""Reads of a SQLite store that go past the actors: from any thread, on connections that can't write."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine

from callboard.actors.store.sql_reader import SqlReader
from callboard.actors.store.sqlite_connection import connect, store_errors

MAX_THREADS = 64


class SqliteReader(SqlReader):
    """Reads tasks and queues. A process that was forked from its opener gets connections of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inherited: list[object] = []
        self._watch: sqlite3.Connection | None = None
        self._open()

    def version(self) -> int:
        """Return SQLite's own number for "somebody else wrote", from a connection that does nothing else."""
        self._mind_fork()
        with store_errors(self._path), self._version_lock:
            if self._watch is None:
                self._watch = connect(self._path, writes=False, own_thread=False)
            version: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
        return version

    def close(self) -> None:
        """Close the connections that no thread uses; the others when they are given back."""
        self._mind_fork()
        with self._version_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self._engine.dispose()

    def _open(self) -> None:
        self._process = os.getpid()
        self._version_lock = threading.Lock()
        self._engine: Engine = create_engine(
            "sqlite://",
            creator=lambda: connect(self._path, writes=False, own_thread=False),
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=MAX_THREADS - 4,
        )

    def _mind_fork(self) -> None:
        if self._process != os.getpid():
            # Not closed, not even by the garbage collector: that would undo the parent's locks.
            self._inherited += [self._engine, self._watch]
            self._watch = None
            self._open()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._mind_fork()
        with store_errors(self._path), self._engine.connect() as connection:
            yield connection

    @staticmethod
    def _given(texts: Iterable[str]) -> str:
        return json.dumps(list(texts))
