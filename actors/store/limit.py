"""Measures how fast the store alone could be: the product's tables and best statements in one plain loop, no actors.

`callboard bench` prints its own figures as parts of these, so they hold what no design could leave out (each task is
written, each outcome is written, every commit is on disk) and nothing else: no owner, no turn, no messages.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Protocol

from callboard.actors.options import Backoff
from callboard.actors.store import Change, Completion, HandOut, Insert, Store
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


class Plain(Protocol):
    """A database and the statements for it, with nothing between. `counts`: more available and more completed tasks."""

    def write(self, change: Change, counts: tuple[int, int]) -> None:
        """Write the change in one transaction."""

    def read(self, after_rank: int, most: int) -> str:
        """Read so many available tasks in order and return the id of the last."""


def measure_limit(path: Path, tasks: int, submit_batch: int, drain_batch: int) -> StoreLimit:
    """Measure in a new SQLite database at this path, which stays behind."""
    define(SqliteStore(path, clock=lambda: 0))
    with closing(connect(path, writes=True)) as connection:
        return measure(SqlitePlain(connection), tasks, submit_batch, drain_batch)


def define(store: Store) -> None:
    """Make the queue that is measured, and close the store."""
    store.put_queue(QUEUE, "{}", "", 0)
    store.close()


def measure(plain: Plain, tasks: int, submit_batch: int, drain_batch: int) -> StoreLimit:
    """Measure on the tables of an empty queue."""
    flow = Loop(plain, new_tasks(tasks, "flow"))
    end_to_end = _rate(tasks, flow.submit_and_complete(submit_batch))
    backlog = Loop(plain, new_tasks(tasks, "backlog"))
    submit = _rate(tasks, backlog.submit(submit_batch))
    drain = _rate(tasks, backlog.drain(drain_batch))
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


class SqlitePlain:
    """SQLite's side of it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def write(self, change: Change, counts: tuple[int, int]) -> None:
        """Write the change in one transaction."""
        connection = self._connection
        with written(connection):
            if change.inserts:
                connection.executemany(sql.INSERT_TASK.sql, sql.insert_rows(change.inserts, QUEUE))
            if change.completions:
                connection.executemany(sql.COMPLETE.sql, sql.COMPLETE.rows(change.completions, Completion._fields))
            for number in change.hand_outs_ended:
                connection.execute(sql.END_HAND_OUT.sql, (QUEUE, number))
            for batch in change.hand_outs:
                connection.execute(sql.PUT_HAND_OUT.sql, (QUEUE, batch.number, batch.worker, json.dumps(batch.ids)))
            connection.execute(sql.ADD_COUNTS.sql, counts_row(*counts))

    def read(self, after_rank: int, most: int) -> str:
        """Read so many available tasks in order and return the id of the last."""
        rows = self._connection.execute(sql.READY.sql, (QUEUE, 0, after_rank)).fetchmany(most)
        return str(rows[-1][0])


def counts_row(available: int, completed: int) -> tuple[object, ...]:
    """Return the parameters of `ADD_COUNTS`."""
    more = {**dict.fromkeys(map(str, TaskState), 0), "available": available, "completed": completed}
    return (*more.values(), 0, 0, QUEUE)


class Loop:
    """The plain loop over one set of tasks."""

    def __init__(self, plain: Plain, tasks: Sequence[NewTask]) -> None:
        self._plain = plain
        self._tasks = tasks
        self._number = 0

    def submit(self, batch: int) -> Iterator[None]:
        """Store the tasks as a backlog, one transaction a batch."""
        for new in self._batches(batch):
            self._plain.write(Change(inserts=_inserts(new, TaskState.AVAILABLE)), (len(new), 0))
            yield

    def submit_and_complete(self, batch: int) -> Iterator[None]:
        """Store each batch as handed out, and complete the one before in the same transaction."""
        before: Sequence[NewTask] = ()
        for new in [*self._batches(batch), ()]:
            change = Change(inserts=_inserts(new, CLAIMED), completions=self._completions(before, CLAIMED))
            self._plain.write(self._handing_out(change, new), (len(new) - len(before), len(before)))
            before = new
            yield

    def drain(self, batch: int) -> Iterator[None]:
        """Complete the backlog: each transaction hands out a batch, read just before, and completes the one before that."""
        before: Sequence[NewTask] = ()
        for given in [*self._batches(batch), ()]:
            if given:
                assert self._plain.read(given[0].created_at - 1, len(given)) == given[-1].id
            change = Change(completions=self._completions(before, TaskState.AVAILABLE))
            self._plain.write(self._handing_out(change, given), (-len(before), len(before)))
            before = given
            yield

    def _batches(self, size: int) -> list[Sequence[NewTask]]:
        return [self._tasks[start : start + size] for start in range(0, len(self._tasks), size)]

    def _completions(self, tasks: Sequence[NewTask], was: str) -> list[Completion]:
        return [
            Completion(task.id, str(was), 1, task.created_at, task.created_at + 900, "null", self._number) for task in tasks
        ]

    def _handing_out(self, change: Change, tasks: Sequence[NewTask]) -> Change:
        change.hand_outs_ended = [self._number]
        self._number += 1
        if tasks:
            change.hand_outs = [HandOut(self._number, "worker-1", tuple(task.id for task in tasks))]
        return change


def _inserts(new: Sequence[NewTask], state: str) -> list[Insert]:
    return [Insert(task, str(state), 0, task.created_at) for task in new]


def _rate(tasks: int, work: Iterator[None]) -> float:
    begun = time.perf_counter()
    for _ in work:
        pass
    return tasks / (time.perf_counter() - begun)
