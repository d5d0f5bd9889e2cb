"""Reads that go past the actors, the same for every database: in SQLAlchemy Core, from any thread."""

import heapq
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import Connection, Engine, bindparam, literal_column, select

from callboard.actors.store import Page, QueueRow, TaskFilter
from callboard.actors.store.agenda import read_agenda
from callboard.actors.store.columns import storable
from callboard.actors.store.dialects import IsGiven
from callboard.actors.store.listing import id_statements, read_cursor, write_cursor
from callboard.actors.store.rows import QUEUE_COLUMNS, TASK_COLUMNS, queue_row, task_of
from callboard.actors.store.schema import counts, is_any, is_shown, queues, tasks
from callboard.actors.task import ENDED_STATES, Task, TaskState

_given = IsGiven(tasks.c.id, bindparam("ids"))
_GET = select(*TASK_COLUMNS).where(tasks.c.id == bindparam("task_id"), is_shown())
_GET_MANY = select(*TASK_COLUMNS).where(_given, is_shown())
_ONGOING = select(tasks.c.id).where(_given, ~is_any(tasks.c.state, sorted(ENDED_STATES)), is_shown())
_QUEUES = select(*QUEUE_COLUMNS).where(queues.c.deleted == literal_column("0")).order_by(queues.c.name)
_CHECK = select(counts.c.queue).limit(1)
_COUNTS = (
    select(counts.c.queue, *(counts.c[str(state)] for state in TaskState))
    .join(queues, queues.c.name == counts.c.queue)
    .where(queues.c.deleted == literal_column("0"))
    .order_by(counts.c.queue)
)


class SqlReader(ABC):
    """Reads tasks and queues; a subclass makes the connections.

    A process that was forked from its opener gets connections of its own. `_watch`: one for looking whether anything
    has changed, made when it is first needed and used under `_version_lock`.
    """

    _BEGIN: ClassVar[str]
    """Begins, on a connection in autocommit mode, a transaction whose first statement decides what all of it see."""

    def __init__(self) -> None:
        self._inherited: list[object] = []
        self._watch: Any = None
        self._open()

    @abstractmethod
    def _make_engine(self) -> Engine:
        """Make the pool of connections to read from."""

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Turn what the database raises into `StoreUnavailable`."""

    def _open(self) -> None:
        self._process = os.getpid()
        self._version_lock = threading.Lock()
        self._engine = self._make_engine()

    def _mind_fork(self) -> None:
        if self._process != os.getpid():
            # Not closed, not even by the garbage collector: that would undo the parent's locks in a file, and tell a server
            # that the parent has gone.
            self._inherited += [self._engine, self._watch]
            self._watch = None
            self._open()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        self._mind_fork()
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _one_snapshot(self) -> Iterator[Connection]:
        """Have all statements of the block see the same moment; no writer waits for that."""
        with self._reading() as connection:
            connection.exec_driver_sql(self._BEGIN)
            yield connection  # given back to the pool, it is rolled back

    def close(self) -> None:
        """Close the connections that no thread uses; the others when they are given back."""
        self._mind_fork()
        with self._version_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self._engine.dispose()

    @staticmethod
    @abstractmethod
    def _given(texts: Iterable[str]) -> str:
        """Write many texts as the one parameter of `IsGiven`."""

    def queues(self) -> list[QueueRow]:
        """Return all queues by name."""
        with self._reading() as connection:
            return [queue_row(row) for row in connection.execute(_QUEUES)]

    def get(self, task_id: str) -> Task | None:
        """Return one task."""
        if not storable([task_id]):
            return None
        with self._reading() as connection:
            row = connection.execute(_GET, {"task_id": task_id}).one_or_none()
        return None if row is None else task_of(row)

    def get_many(self, ids: Sequence[str]) -> list[Task]:
        """Return those of these tasks that exist, in the order of the ids."""
        with self._reading() as connection:
            found = {row[0]: row for row in connection.execute(_GET_MANY, {"ids": self._given(ids)})}
        return [task_of(found[task_id]) for task_id in dict.fromkeys(ids) if task_id in found]

    def ended(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids whose tasks have ended or do not exist any more."""
        asked = set(ids)
        with self._reading() as connection:
            return asked.difference(connection.execute(_ONGOING, {"ids": self._given(asked)}).scalars())

    def page(self, chosen: TaskFilter, limit: int, cursor: str | None) -> Page:
        """Return a page of tasks. Raises ValueError for a cursor that is not ours."""
        before = read_cursor(cursor)
        found = self._newest(chosen, before, limit + 1)
        shown = self.get_many([task_id for task_id, _ in found[:limit]])
        if chosen.state is not None:  # a task may have moved on between the two reads
            shown = [task for task in shown if task.state is chosen.state]
        return Page(shown, write_cursor(found[limit - 1][0]) if len(found) > limit else None)

    def matching_ids(self, chosen: TaskFilter, limit: int, before: str | None = None) -> list[tuple[str, str]]:
        """Return (queue, id) of the tasks that the filter chooses, newest first, older than `before`."""
        return [(queue, task_id) for task_id, queue in self._newest(chosen, before, limit)]

    def counts(self) -> dict[str, dict[TaskState, int]]:
        """Return every queue's counts."""
        with self._reading() as connection:
            return _counts_of(connection)

    def agenda(self) -> dict[str, int]:
        """Return when each queue has something to do."""
        with self._reading() as connection:
            return read_agenda(connection)

    def _newest(self, chosen: TaskFilter, before: str | None, limit: int) -> list[tuple[str, str]]:
        wanted = [text for text in (chosen.queue, chosen.type, before) if text is not None]
        if storable(wanted) != wanted:
            return []
        found: list[tuple[str, str]] = []
        # A task that changes its state meanwhile would else be in none of the statements, or not have been counted.
        with self._one_snapshot() as connection:
            for statement in id_statements(chosen, _counts_of(connection), before, limit):
                found.extend((row[0], row[1]) for row in connection.execute(statement))
        return heapq.nlargest(limit, found, key=itemgetter(0))

    def check(self) -> None:
        """Read something small. Raises `StoreUnavailable` when the store does not answer."""
        with self._reading() as connection:
            connection.execute(_CHECK).one_or_none()


def _counts_of(connection: Connection) -> dict[str, dict[TaskState, int]]:
    return {row[0]: dict(zip(TaskState, row[1:], strict=True)) for row in connection.execute(_COUNTS)}
