"""Reads of a SQLite store that go past the actors: from any thread, on connections that can't write."""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine, QueuePool, create_engine

from callboard.actors.store.sql_reader import SqlReader
from callboard.actors.store.sqlite_connection import connect, store_errors

MAX_THREADS = 64


class SqliteReader(SqlReader):
    """Reads tasks and queues from a file."""

    _BEGIN = "BEGIN"

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__()

    def version(self) -> int:
        """Return SQLite's own number for "somebody else wrote", from a connection that does nothing else."""
        self._mind_fork()
        with self._errors(), self._version_lock:
            if self._watch is None:
                self._watch = connect(self._path, writes=False, own_thread=False)
            version: int = self._watch.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _make_engine(self) -> Engine:
        return create_engine(
            "sqlite://",
            creator=lambda: connect(self._path, writes=False, own_thread=False),
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=MAX_THREADS - 4,
        )

    def _errors(self) -> AbstractContextManager[None]:
        return store_errors(self._path)

    @staticmethod
    def _given(texts: Iterable[str]) -> str:
        return json.dumps(list(texts))
