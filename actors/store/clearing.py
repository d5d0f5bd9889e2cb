"""Removes what is left of deleted queues, the same for every SQL database: a little at a time, and from wherever it stopped.

The queue's counts go down with its tasks, in the same transactions. So whoever goes on knows what there is left to look
for, and when nothing is, and the queue itself goes last.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

from callboard.actors.store.schema import COUNTED
from callboard.actors.store.tally import Tally

FIRST_BATCH: Final = 20
"""Few at first: there are tasks of a megabyte."""
MOST: Final = 5_000
BATCH_SECONDS: Final = 0.05
"""About so long a transaction takes: other writers wait for it."""


class Clearing(ABC):
    """Works until its time is up; a subclass has the connection.

    statements, counting: the modules that have this database's statements, and those for counts; they have the same names
    for every database.
    """

    statements: ClassVar[Any]
    counting: ClassVar[Any]

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = clock() + seconds
        self._batch = FIRST_BATCH

    @abstractmethod
    def _run(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, if it has any."""

    @abstractmethod
    def _written(self) -> AbstractContextManager[None]:
        """Run the block in a write transaction."""

    @abstractmethod
    def _alone(self, queue: str) -> AbstractContextManager[bool]:
        """Keep other processes from clearing the same queue inside the block; false where one of them does that now."""

    @staticmethod
    @abstractmethod
    def _given(texts: Iterable[str]) -> str:
        """Write many texts as one parameter."""

    def work(self) -> bool:
        """Remove what there is time for, and tell whether nothing is left of any deleted queue."""
        names = [name for (name,) in self._read(self.statements.HALF_DELETED)]
        # What is soon done comes first: its name is free again.
        done = True
        for number, name in enumerate(sorted(names, key=self._left)):
            # Some of the first is removed in any case, or who has little time would get nowhere.
            if number and self._time_is_up():
                return False
            done = self._queue(name) and done
        return done

    def _queue(self, queue: str) -> bool:
        with self._alone(queue) as alone:
            if not alone or not self._tasks(queue) or not self._keys(queue):
                return False
            with self._written():
                for statement in self.statements.FORGET_QUEUE:
                    self._run(statement.sql, (queue,))
        return True

    def _tasks(self, queue: str) -> bool:
        for statement in self.statements.IDS_IN_STATE.values():
            while ids := [row[0] for row in self._read(statement, of_queue=queue, most=self._batch)]:
                self._delete_tasks(queue, ids)
                if self._time_is_up():
                    return False
        return self._left(queue) <= 0 or self._strays(queue)

    def _strays(self, queue: str) -> bool:
        """Look through all tasks: by the counts there are some more, and no index has them."""
        last_id = ""
        while rows := self._read(self.statements.IDS_AFTER, last_id=last_id, of_queue=queue, most=self._batch):
            self._delete_tasks(queue, [row[0] for row in rows])
            last_id = rows[-1][0]
            if self._time_is_up():
                return False
        return True

    def _keys(self, queue: str) -> bool:
        last_key = ""
        while rows := self._read(self.statements.KEYS_AFTER, last_key=last_key, of_queue=queue, most=self._batch):
            keys = [row[0] for row in rows]
            begun = self._clock()
            with self._written():
                self._write(self.statements.DELETE_KEYS, ids=self._given(keys), of_queue=queue)
            self._adapt(self._clock() - begun)
            last_key = keys[-1]
            if self._time_is_up():
                return False
        return True

    def _delete_tasks(self, queue: str, ids: list[str]) -> None:
        tally = Tally()
        begun = self._clock()
        with self._written():
            gone = self._write(self.statements.DELETE_TASKS, ids=self._given(ids))
            tally.deleted([row[0] for row in gone])
            if (values := tally.values()) is not None:
                self._run(self.counting.ADD_COUNTS.sql, (*values, queue))
        self._adapt(self._clock() - begun)

    def _left(self, queue: str) -> int:
        """Count what the queue has left."""
        rows = self._read(self.counting.COUNTS, of_queue=queue)
        return sum(rows[0][: len(set(COUNTED.values()))]) if rows else 0

    def _adapt(self, took: float) -> None:
        if took > BATCH_SECONDS:
            self._batch = max(1, self._batch // 2)
        elif took < BATCH_SECONDS / 2:
            self._batch = min(MOST, self._batch * 2)

    def _time_is_up(self) -> bool:
        return self._clock() >= self._until

    def _read(self, statement: Any, **values: Any) -> list[tuple[Any, ...]]:
        return self._run(statement.sql, statement.bind(**values))

    _write = _read
