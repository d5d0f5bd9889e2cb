"""Reads of a PostgreSQL store that go past the actors: from any thread, on a few connections."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Final

import psycopg
from sqlalchemy import Engine, QueuePool, create_engine

from callboard.actors.store.columns import storable, texts
from callboard.actors.store.postgres_connection import BoundedConnection, connect, store_errors
from callboard.actors.store.sql_reader import SqlReader
from callboard.conf.store_url import shown_url

KEPT: Final = 4
MOST: Final = 12
"""A database server's connections are few, and each is a process there."""
WAIT_SECONDS: Final = 5.0

# A snapshot names the transactions that one can see: it changes exactly when another one has become visible. What counts
# writes instead (the log's position, statistics) changes a moment before or after that, and a watcher would miss the last.
_VERSION: Final = "SELECT hashtextextended(pg_current_snapshot()::text, 0)"


class PostgresReader(SqlReader):
    """Reads tasks and queues from a server."""

    _BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, url: str) -> None:
        self._url = url
        self._place = shown_url(url)
        super().__init__()

    def version(self) -> int:
        """Return a number that is another one when a transaction has become visible, from a connection of its own."""
        self._mind_fork()
        with self._errors(), self._version_lock:
            try:
                return self._look(self._watch or connect(self._url, "watch"))
            except psycopg.Error:
                # What was connected before the server was started again is of no use, and a look is easily repeated.
                if self._watch is None:
                    raise
                self._watch.close()
                self._watch = None
            return self._look(connect(self._url, "watch"))

    def _look(self, watch: BoundedConnection) -> int:
        self._watch = watch
        row = watch.execute(_VERSION).fetchone()
        assert row is not None
        return int(row[0])

    def _make_engine(self) -> Engine:
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(self._url, "reads"),
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,
            poolclass=QueuePool,
            pool_size=KEPT,
            max_overflow=MOST - KEPT,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,  # connections from before the server was started again are replaced, not reported
        )

    def _errors(self) -> AbstractContextManager[None]:
        return store_errors(self._place)

    @staticmethod
    def _given(given: Iterable[str]) -> str:
        return texts(storable(given))
