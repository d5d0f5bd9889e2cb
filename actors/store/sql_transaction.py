"""What a transaction of a queue's owner does in the same way in every SQL database."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from callboard.actors.ordering import STRICT, Order
from callboard.actors.store import ReadyTask
from callboard.actors.store.moving import placed
from callboard.actors.store.tally import Tally
from callboard.actors.task import TaskState


class SqlTransaction(ABC):
    """One open transaction of a queue's owner; a subclass has the connection, and what is written by the batch.

    statements: the module that has this database's statements; they have the same names for every database.
    """

    statements: ClassVar[Any]

    def __init__(self, queue: str, now: int) -> None:
        self._queue = queue
        self._now = now
        self._tally = Tally()
        self._spoiled = False

    @abstractmethod
    def _run(self, statement: Any, **values: Any) -> Any:
        """Run a statement with named values, and return its cursor."""

    @staticmethod
    @abstractmethod
    def _given(ids: Iterable[str]) -> str:
        """Write many ids as one parameter."""

    @abstractmethod
    def _make_available(self, due: Sequence[ReadyTask]) -> None:
        """Store these tasks as available, in their places."""

    def existing(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that the store has, in any queue."""
        return {row[0] for row in self._run(self.statements.EXISTING, ids=self._given(ids))}

    def set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the stored flag itself
        """Store whether the queue is paused."""
        self._run(self.statements.SET_PAUSED, of_queue=self._queue, is_paused=int(paused))

    def settings(self) -> tuple[str, int]:
        """Return the stored settings and their version; nobody changes them before the transaction ends."""
        settings, version = self._run(self.statements.SETTINGS, of_queue=self._queue).fetchall()[0]
        return settings, version

    def set_settings(self, settings: str) -> int:
        """Store new settings and return their version."""
        rows = self._run(self.statements.SET_SETTINGS, of_queue=self._queue, new_settings=settings).fetchall()
        return int(rows[0][0])

    def due(self, now: int, limit: int, first_rank: int, order: Order = STRICT) -> list[ReadyTask]:
        """Make due tasks available, earliest first, as if they came from `first_rank` on; return them in order."""
        found = self._run(self.statements.DUE, of_queue=self._queue, now=now, most=limit)
        waited = list(map(ReadyTask._make, found))
        if not waited:
            return []
        due = placed(waited, first_rank, order)
        self._make_available(due)
        self._tally.became_due(waited, due)
        return due

    def purge(self, state: TaskState, finished_before: int, limit: int) -> int:
        """Delete at most `limit` tasks that ended like this before then, oldest first; return how many."""
        values = {"ended_state": str(state), "before": finished_before, "most": limit}
        gone: int = self._run(self.statements.PURGE, of_queue=self._queue, **values).rowcount
        self._tally.purged(state, gone)
        return gone

    def delete(self, ids: Sequence[str]) -> int:
        """Delete those of these tasks of the queue that have ended; return how many."""
        gone = self._run(self.statements.DELETE_ENDED, of_queue=self._queue, ids=self._given(ids)).fetchall()
        self._tally.deleted([row[0] for row in gone])
        return len(gone)
