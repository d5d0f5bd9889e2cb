"""What a Queue actor holds of a PostgreSQL store: a session with the queue's lock, and transactions that check who it is."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from callboard.actors.errors import Superseded
from callboard.actors.store import HandOut, ReadyTask
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.columns import storable, texts
from callboard.actors.store.postgres_connection import BoundedConnection, NoAnswer, store_errors
from callboard.actors.store.postgres_session import OwnerSession
from callboard.actors.store.postgres_transaction import PostgresTransaction
from callboard.actors.store.statements import FIRST_KEY
from callboard.actors.task import TaskState

T = TypeVar("T")

FIRST_CHUNK = 64
"""Rows that are read before it is known how large they are: 64 of the largest are as much as a Queue may have."""
LARGEST_CHUNK = 2_000


class PostgresQueueStore:
    """A queue's owner's view of its queue. Made by `PostgresStore.own`, used by one thread of one process.

    After a failure the next call connects again by itself.
    """

    def __init__(self, session: OwnerSession, clock: Callable[[], int]) -> None:
        self._session = session
        self._clock = clock
        self._queue = session.queue
        self._in_transaction = False
        """Then the connection can't be replaced."""

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Open a transaction; what PostgreSQL raises inside the block leaves it as `StoreUnavailable`."""
        session = self._session
        with store_errors(session.place):
            connection, number = self._asked(self._begin)
            self._in_transaction = True
            try:
                transaction = PostgresTransaction(connection, self._queue, self._clock())
                yield transaction
                with session.committing(number):
                    transaction.commit()
            except BaseException as error:
                session.undone(connection)
                if isinstance(error, NoAnswer):
                    session.hung(str(error))
                raise
            finally:
                self._in_transaction = False

    def _begin(self, connection: BoundedConnection) -> tuple[BoundedConnection, str]:
        """Begin, and return the transaction's number."""
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                row = connection.execute(sql.BEGIN.sql, (self._queue,)).fetchone()
        except BaseException:
            self._session.undone(connection)
            raise
        if row is None or row[0] != self._session.incarnation:
            self._session.undone(connection)
            raise Superseded(self._queue, self._session.incarnation)
        return connection, str(row[1])

    def ready(self, after: tuple[int, int] | None, limit: int, max_bytes: int) -> list[ReadyTask]:
        """Return available rows after that key.

        At least one if there is any, and never a part of those that share one key, so that none is skipped.
        """
        lane, rank = FIRST_KEY if after is None else after
        found: list[ReadyTask] = []
        size = 0
        chunk = min(max(limit, 1), FIRST_CHUNK)
        while True:
            rows = self._rows(sql.READY, of_queue=self._queue, lane=lane, rank=rank, most=chunk)
            for task in map(ReadyTask._make, rows):
                if found and (len(found) >= limit or size >= max_bytes) and found[-1][4:6] != task[4:6]:
                    return found
                found.append(task)
                size += len(task.context)
            if len(rows) < chunk or len(found) >= limit or size >= max_bytes:
                return found
            lane, rank = found[-1].lane, found[-1].rank
            average = size // len(found) + 1
            chunk = min(limit - len(found), (max_bytes - size) // average + 1, LARGEST_CHUNK)

    def next_due(self) -> int | None:
        """Return the earliest `run_at` of the tasks that wait for it."""
        due: int | None = self._rows(sql.NEXT_DUE, of_queue=self._queue)[0][0]
        return due

    def oldest_ready(self) -> int | None:
        """Return when the available task of the smallest rank was made: one look-up for each lane in use."""
        firsts = []
        lane = FIRST_KEY[0]
        while rows := self._rows(sql.FIRST_OF_NEXT_LANE, of_queue=self._queue, lane=lane):
            lane = rows[0][0]
            firsts.append(rows[0][1:])
        return min(firsts)[1] if firsts else None

    def load(self, ids: Sequence[str]) -> list[ReadyTask]:
        """Return these tasks of the queue in the order of the ids."""
        found = {
            row[0]: ReadyTask._make(row) for row in self._rows(sql.LOAD, of_queue=self._queue, ids=texts(storable(ids)))
        }
        return [found[task_id] for task_id in dict.fromkeys(ids) if task_id in found]

    def counts(self) -> dict[TaskState, int]:
        """Return the queue's counts."""
        return counted(self._rows(sql.COUNTS, of_queue=self._queue)[0])

    def hand_outs(self) -> list[HandOut]:
        """Return the batches that were not ended, by number."""
        rows = self._rows(sql.HAND_OUTS, of_queue=self._queue)
        return [HandOut(number, worker, tuple(json.loads(ids))) for number, worker, ids in rows]

    def close(self) -> None:
        """End the session: another owner can take the queue."""
        self._session.drop()

    def _rows(self, statement: sql.Prepared, **values: Any) -> list[tuple[Any, ...]]:
        with store_errors(self._session.place):
            return self._asked(lambda connection: connection.execute(statement.sql, statement.bind(**values)).fetchall())

    def _asked(self, question: Callable[[BoundedConnection], T]) -> T:
        """Ask, and ask again if the connection had ended while nobody used it."""
        connection = self._session.use()
        try:
            return question(connection)
        except NoAnswer as error:
            self._session.hung(str(error))
            raise
        except psycopg.OperationalError:
            if not connection.closed or self._in_transaction:
                raise
            return question(self._session.use())


def counted(row: Sequence[int]) -> dict[TaskState, int]:
    """Read the row that `COUNTS` returns, as far as it holds counts."""
    return dict(zip(TaskState, row, strict=False))
