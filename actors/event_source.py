"""Where events are made: what an owner's decisions mean for those who watch.

An event becomes final with the transaction that stores what it tells; what is decided and not stored yet is held back.
While nobody watches nothing is kept, and the calls cost a look at `on`.
"""

from collections.abc import Iterable
from typing import Any, Final

from callboard.actors.crew import Flight
from callboard.actors.event import EventKind, Row, gap_row
from callboard.actors.lifecycle import Failed, Transition
from callboard.actors.ordering import came
from callboard.actors.store import Insert, ReadyTask, TaskUpdate
from callboard.actors.task import ErrorKind, TaskState, format_time

MAX_WAITING: Final = 60_000
"""So many events wait until the Events actor takes them; of more, only the number is told."""
MESSAGE_LENGTH: Final = 500
"""Characters of an error's message that an event carries; all of it is in the task."""
_ENQUEUED, _STARTED, _COMPLETED = str(EventKind.ENQUEUED), str(EventKind.STARTED), str(EventKind.COMPLETED)
_ENDS: Final = {
    ErrorKind.CRASH: EventKind.CRASHED,
    ErrorKind.TIMEOUT: EventKind.TIMED_OUT,
    ErrorKind.INTERRUPTED: EventKind.INTERRUPTED,
}
_BECAME: Final = {
    TaskState.RETRYABLE: EventKind.RETRY_SCHEDULED,
    TaskState.DEAD: EventKind.DEAD,
    TaskState.CANCELLED: EventKind.CANCELLED,
}


class EventSource:
    """Collects the events of one queue's owner. max_waiting: events that are kept until they are taken."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self.on = False
        """Whether anybody watches."""
        self._undecided: list[Row] = []
        """Of facts that are not stored yet."""
        self._waiting: list[Row] = []
        self._missed: dict[str, Any] | None = None
        """Of the gap that is the last of those that wait."""

    def __len__(self) -> int:
        """Return how many events can be taken."""
        return len(self._waiting)

    def switch(self, *, on: bool) -> None:
        """Begin or end to collect."""
        self.on = on
        if not on:
            self._undecided, self._waiting, self._missed = [], [], None

    # ------------------------------------------------------------ what happens

    def enqueued(self, inserts: Iterable[Insert], now: int) -> None:
        """Tell of new tasks that are stored."""
        if not self.on:
            return
        for insert in inserts:
            task = insert.task
            detail = {"run_at": format_time(task.run_at)} if task.run_at > now else None
            self._keep((_ENQUEUED, now, task.id, task.type, 0, max(now - task.created_at, 0), detail))

    def due(self, tasks: Iterable[ReadyTask], now: int) -> None:
        """Tell of waiting tasks that have been made available."""
        if self.on:
            for task in tasks:
                self._keep((str(EventKind.DUE), now, task.id, task.type, task.attempt, None, None))

    def began(self, flight: Flight, at: int) -> None:
        """Tell, once, that an attempt has begun: the worker's journal says so."""
        if self.on and not flight.announced:
            flight.announced = True
            task, waited = flight.task, _waited(flight.task, at)
            self._undecided.append((_STARTED, at, task.id, task.type, flight.attempt_number, waited, None))

    def completed(self, flight: Flight, started_at: int, at: int) -> None:
        """Tell that an attempt has ended well."""
        if not self.on:
            return
        # As `began`, but without its calls: this is the way of nearly all tasks.
        task, attempt = flight.task, flight.attempt_number
        task_id, type_ = task.id, task.type
        if not flight.announced:
            flight.announced = True
            waited = _waited(task, started_at)
            self._undecided.append((_STARTED, started_at, task_id, type_, attempt, waited, None))
        self._undecided.append((_COMPLETED, at, task_id, type_, attempt, max(at - started_at, 0), None))

    def leased(self, task: ReadyTask, at: int) -> None:
        """Tell that a consumer has a task; that is stored."""
        if self.on:
            self._keep((_STARTED, at, task.id, task.type, task.attempt, _waited(task, at), None))

    def settled(self, task: ReadyTask, started_at: int, at: int) -> None:
        """Tell that a consumer has done a task well; that is stored."""
        if self.on:
            self._keep((_COMPLETED, at, task.id, task.type, task.attempt, max(at - started_at, 0), None))

    def failed(self, task: ReadyTask, failure: Failed, transition: Transition, *, stored: bool = False) -> None:
        """Tell how an attempt has failed, and what becomes of its task, which may be `stored` already."""
        if not self.on:
            return
        tell = self._keep if stored else self._undecided.append
        update, at = transition.update, failure.finished_at
        detail: dict[str, Any] = {"kind": str(failure.kind), "message": failure.message[:MESSAGE_LENGTH]}
        if failure.exit is not None:
            detail["exit"] = failure.exit
        kind = _ENDS.get(failure.kind, EventKind.FAILED)
        took = max(at - failure.started_at, 0)
        tell((str(kind), at, task.id, task.type, update.attempt, took, detail))
        became = _BECAME.get(TaskState(update.state))
        if became is not None:
            waits = update.state == TaskState.RETRYABLE and update.run_at is not None
            then = {"run_at": format_time(update.run_at)} if waits and update.run_at is not None else None
            tell((str(became), at, task.id, task.type, update.attempt, None, then))

    def cancelled(self, task: ReadyTask, update: TaskUpdate, *, stored: bool = False) -> None:
        """Tell that a task is cancelled, which may be `stored` already."""
        if self.on:
            tell = self._keep if stored else self._undecided.append
            tell((str(EventKind.CANCELLED), update.finished_at or 0, task.id, task.type, update.attempt, None, None))

    def released(self, task: ReadyTask) -> None:
        """Tell that a task which was shown as executing has not begun and is available again."""
        if self.on and task.state == TaskState.EXECUTING:
            # When, is known when it is stored.
            self._undecided.append((str(EventKind.RELEASED), 0, task.id, task.type, task.attempt - 1, None, None))

    def retried(self, tasks: Iterable[ReadyTask], now: int) -> None:
        """Tell that ended tasks have been put back by hand."""
        if self.on:
            for task in tasks:
                self._keep((str(EventKind.RETRIED), now, task.id, task.type, task.attempt, None, None))

    def changed(self, task: ReadyTask, detail: dict[str, Any], now: int) -> None:
        """Tell that somebody has changed a waiting task; that is stored."""
        if self.on:
            self._keep((str(EventKind.CHANGED), now, task.id, task.type, task.attempt, None, detail))

    # ------------------------------------------------------------ what is told

    def stored(self, now: int) -> None:
        """Let out what was held back: what it tells is stored."""
        undecided, self._undecided = self._undecided, []
        rows = [row if row[1] else (row[0], now, *row[2:]) for row in undecided]
        if rows and len(self._waiting) + len(rows) <= self._max_waiting:
            self._missed = None
            self._waiting += rows
            return
        for row in rows:
            self._keep(row)

    def take(self, limit: int) -> list[Row]:
        """Return the oldest events that may be told, and forget them."""
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        if not self._waiting:
            self._missed = None
        return taken

    def _keep(self, row: Row) -> None:
        if len(self._waiting) < self._max_waiting:
            self._missed = None
            self._waiting.append(row)
        elif self._missed is None:
            # The last place is for the gap.
            self._missed = {"missed": 1, "reason": "too many events at once"}
            gap = gap_row(row[1], "", None)
            self._waiting.append((*gap[:6], self._missed))
        else:
            self._missed["missed"] += 1


def _waited(task: ReadyTask, until: int) -> int:
    return max(until - came(task.lane, task.rank, task.priority), 0)
