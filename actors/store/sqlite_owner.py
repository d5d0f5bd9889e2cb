"""What a Queue actor holds of a SQLite store: one connection, and transactions that only the queue's owner can commit."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from callboard.actors.errors import Superseded
from callboard.actors.store import HandOut, ReadyTask
from callboard.actors.store import statements as sql
from callboard.actors.store.sqlite_connection import store_errors
from callboard.actors.store.sqlite_transaction import SqliteTransaction, written
from callboard.actors.store.turn import Turn
from callboard.actors.task import TaskState


class DatabaseFile(NamedTuple):
    """What all owners of queues in one file share."""

    path: Path
    turn: Turn
    clock: Callable[[], int]


class SqliteQueueStore:
    """A queue's owner's view of its queue. Made by `SqliteStore.own`, used by one thread of one process."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        file: DatabaseFile,
        queue: str,
        incarnation: int,
    ) -> None:
        self._connection = connection
        self._path, self._turn, self._clock = file
        self._queue = queue
        self._incarnation = incarnation

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Open a transaction; what SQLite raises inside the block leaves it as `StoreUnavailable`."""
        with store_errors(self._path), self._turn.taken(), written(self._connection):
            row = self._connection.execute(sql.INCARNATION.sql, (self._queue,)).fetchone()
            if row is None or row[0] != self._incarnation:
                raise Superseded(self._queue, self._incarnation)
            transaction = SqliteTransaction(self._connection, self._queue, self._clock())
            yield transaction
            transaction.store_counts()

    def ready(self, after: tuple[int, int] | None, limit: int, max_bytes: int) -> list[ReadyTask]:
        """Return available rows after that key.

        At least one if there is any, and never a part of those that share one key, so that none is skipped.
        """
        lane, rank = sql.FIRST_KEY if after is None else after
        found: list[ReadyTask] = []
        size = 0
        with self._rows(sql.READY, of_queue=self._queue, lane=lane, rank=rank) as rows:
            for task in map(ReadyTask._make, rows):
                if found and (len(found) >= limit or size >= max_bytes) and found[-1][4:6] != task[4:6]:
                    break
                found.append(task)
                size += len(task.context)
        return found

    def next_due(self) -> int | None:
        """Return the earliest `run_at` of the tasks that wait for it."""
        with self._rows(sql.NEXT_DUE, of_queue=self._queue) as rows:
            due: int | None = rows.fetchone()[0]
        return due

    def oldest_ready(self) -> int | None:
        """Return when the available task of the smallest rank was made: one look-up for each lane in use."""
        firsts = []
        lane = sql.FIRST_KEY[0]
        while True:
            with self._rows(sql.FIRST_OF_NEXT_LANE, of_queue=self._queue, lane=lane) as rows:
                row = rows.fetchone()
            if row is None:
                break
            lane = row[0]
            firsts.append(row[1:])
        return min(firsts)[1] if firsts else None

    def load(self, ids: Sequence[str]) -> list[ReadyTask]:
        """Return these tasks of the queue in the order of the ids."""
        with self._rows(sql.LOAD, of_queue=self._queue, ids=json.dumps(list(ids))) as rows:
            found = {row[0]: ReadyTask._make(row) for row in rows}
        return [found[task_id] for task_id in dict.fromkeys(ids) if task_id in found]

    def counts(self) -> dict[TaskState, int]:
        """Return the queue's counts."""
        with self._rows(sql.COUNTS, of_queue=self._queue) as rows:
            return counted(rows.fetchone())

    def hand_outs(self) -> list[HandOut]:
        """Return the batches that were not ended, by number."""
        with self._rows(sql.HAND_OUTS, of_queue=self._queue) as rows:
            return [HandOut(number, worker, tuple(json.loads(ids))) for number, worker, ids in rows]

    def close(self) -> None:
        """Close the connection; the writers' turn stays open, see there."""
        self._connection.close()

    @contextmanager
    def _rows(self, statement: sql.Prepared, **values: Any) -> Iterator[sqlite3.Cursor]:
        # A cursor that is left half read would hold its snapshot, and the WAL could never start again.
        with store_errors(self._path):
            cursor = self._connection.execute(statement.sql, statement.bind(**values))
            try:
                yield cursor
            finally:
                cursor.close()


def counted(row: Sequence[int]) -> dict[TaskState, int]:
    """Read the row that `statements.COUNTS` returns, as far as it holds counts."""
    return dict(zip(TaskState, row, strict=False))
