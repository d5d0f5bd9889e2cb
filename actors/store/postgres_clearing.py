"""Removes what is left of deleted queues from a PostgreSQL store."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.clearing import Clearing
from callboard.actors.store.columns import texts
from callboard.actors.store.postgres_connection import BoundedConnection
from callboard.actors.store.postgres_lock import try_lock, unlock


class PostgresClearing(Clearing):
    """Works on one session, with an owner's plans: statistics know nothing of what has just been deleted."""

    statements: ClassVar[Any] = sql
    counting: ClassVar[Any] = sql

    def __init__(self, connection: BoundedConnection, seconds: float) -> None:
        super().__init__(seconds)
        self._connection = connection

    def _run(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(sql, values)
        return [] if cursor.description is None else cursor.fetchall()

    def _written(self) -> AbstractContextManager[None]:
        return written(self._connection)

    @contextmanager
    def _alone(self, queue: str) -> Iterator[bool]:
        # Two servers that delete the same tasks would wait for each other.
        alone = try_lock(self._connection, queue)
        yield alone
        if alone:
            # What fails ends the session, and the lock with it; else the next slice would find it taken.
            unlock(self._connection, queue)

    @staticmethod
    def _given(given: Iterable[str]) -> str:
        return texts(list(given))


@contextmanager
def written(connection: BoundedConnection) -> Iterator[None]:
    """Run the block in a transaction: committed at its end, or rolled back when anything is raised."""
    with connection.transaction():
        yield
