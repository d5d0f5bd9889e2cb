"""Measures how fast the store alone could be: the product's tables and best statements in one plain loop, no actors.

`callboard bench` prints its own figures as parts of these, so they hold what no design could leave out (each task is
written, each outcome is written, every commit is on disk) and nothing else: no owner, no turn, no messages.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from callboard.actors.options import Backoff
from callboard.actors.store import Completion, Insert
from callboard.actors.store import statements as sql
from callboard.actors.store.sqlite import SqliteStore
from callboard.actors.store.sqlite_connection import connect
from callboard.actors.store.sqlite_transaction import written
from callboard.actors.task import CLAIMED, NewTask, TaskState

QUEUE = "limit"


class StoreLimit(NamedTuple):
    """Tasks per second: stored as a backlog; stored and completed, each batch beside the one before; a backlog completed."""

    submit: float
    end_to_end: float
    drain: float


def measure_limit(path: Path, tasks: int, submit_batch: int, drain_batch: int) -> StoreLimit:
    """Measure in a new database at this path, which stays behind."""
    store = SqliteStore(path, clock=lambda: 0)
    store.put_queue(QUEUE, "{}", "", 0)
    store.close()
    connection = connect(path, writes=True)
    try:
        flow = Loop(connection, new_tasks(tasks, "flow"))
        end_to_end = _rate(tasks, flow.submit_and_complete(submit_batch))
        backlog = Loop(connection, new_tasks(tasks, "backlog"))
        submit = _rate(tasks, backlog.submit(submit_batch))
        drain = _rate(tasks, backlog.drain(drain_batch))
    finally:
        connection.close()
    return StoreLimit(submit, end_to_end, drain)


def new_tasks(number: int, kind: str) -> list[NewTask]:
    """Make tasks like those that the edge hands to a Queue; their ids rise as UUIDv7 do, and are as long."""
    backoff = json.dumps(Backoff().to_json())
    return [
        NewTask(
            id=f"{place:08d}-{kind:.<27}",
            type="callboard.actors.samples:NoOp",
            context='{"number": 1}',
            priority=0,
            max_retries=3,
            backoff=backoff,
            timeout_ms=60_000,
            run_at=0,
            created_at=1_800_000_000_000_000 + place,
            created_by="bench",
            meta="{}",
        )
        for place in range(number)
    ]


class Loop:
    """The plain loop over one set of tasks."""

    def __init__(self, connection: sqlite3.Connection, tasks: Sequence[NewTask]) -> None:
        self._connection = connection
        self._tasks = tasks
        self._number = 0

    def submit(self, batch: int) -> Iterator[None]:
        """Store the tasks as a backlog, one transaction a batch."""
        for new in self._batches(batch):
            with written(self._connection):
                self._insert(new, TaskState.AVAILABLE)
                self._count(available=len(new))
            yield

    def submit_and_complete(self, batch: int) -> Iterator[None]:
        """Store each batch as handed out, and complete the one before in the same transaction."""
        before: Sequence[NewTask] = ()
        for new in [*self._batches(batch), ()]:
            with written(self._connection):
                if new:
                    self._insert(new, CLAIMED)
                self._complete(before, CLAIMED)
                self._hand_out(new)
                self._count(available=len(new) - len(before), completed=len(before))
            before = new
            yield

    def drain(self, batch: int) -> Iterator[None]:
        """Complete the backlog: each transaction hands out a batch, read just before, and completes the one before that."""
        before: Sequence[NewTask] = ()
        for given in [*self._batches(batch), ()]:
            if given:
                key = (QUEUE, 0, given[0].created_at - 1)
                read = self._connection.execute(sql.READY.sql, key).fetchmany(len(given))
                assert read[-1][0] == given[-1].id
            with written(self._connection):
                self._complete(before, TaskState.AVAILABLE)
                self._hand_out(given)
                self._count(available=-len(before), completed=len(before))
            before = given
            yield

    def _batches(self, size: int) -> list[Sequence[NewTask]]:
        return [self._tasks[start : start + size] for start in range(0, len(self._tasks), size)]

    def _insert(self, new: Sequence[NewTask], state: str) -> None:
        inserts = [Insert(task, str(state), 0, task.created_at) for task in new]
        self._connection.executemany(sql.INSERT_TASK.sql, sql.insert_rows(inserts, QUEUE))

    def _complete(self, tasks: Sequence[NewTask], was: str) -> None:
        ended = [
            Completion(task.id, str(was), 1, task.created_at, task.created_at + 900, "null", self._number) for task in tasks
        ]
        self._connection.executemany(sql.COMPLETE.sql, sql.COMPLETE.rows(ended, Completion._fields))

    def _hand_out(self, tasks: Sequence[NewTask]) -> None:
        self._connection.execute(sql.END_HAND_OUT.sql, (QUEUE, self._number))
        self._number += 1
        if tasks:
            ids = json.dumps([task.id for task in tasks])
            self._connection.execute(sql.PUT_HAND_OUT.sql, (QUEUE, self._number, "worker-1", ids))

    def _count(self, available: int = 0, completed: int = 0) -> None:
        more = {**dict.fromkeys(map(str, TaskState), 0), "available": available, "completed": completed}
        self._connection.execute(sql.ADD_COUNTS.sql, (*more.values(), 0, self._number, QUEUE))


def _rate(tasks: int, work: Iterator[None]) -> float:
    begun = time.perf_counter()
    for _ in work:
        pass
    return tasks / (time.perf_counter() - begun)
