"""What has happened to tasks and is not stored yet, and how each end of an attempt becomes part of it.

A fact is decided once and kept until a transaction has stored it.
"""

import json
import random
from dataclasses import dataclass, field

from callboard.actors.crew import Flight, Moment
from callboard.actors.event_source import EventSource
from callboard.actors.hand_out import Mark, Record
from callboard.actors.lifecycle import Failed, Transition, cancel, complete, fail, give_back, judge, lose
from callboard.actors.messages import DeadTask
from callboard.actors.store import Change, Completion, ReadyTask, TaskUpdate
from callboard.actors.suspicion import ALONE
from callboard.actors.task import ErrorKind, TaskState
from callboard.actors.window import Window

_COMPLETED, _CANCELLED = int(Mark.COMPLETED), int(Mark.CANCELLED)
"""An enumeration's members are looked up slowly, and each task has one of them."""


@dataclass(slots=True)
class Facts:
    """What has happened and is not stored yet."""

    change: Change = field(default_factory=Change)
    dead: list[DeadTask] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)
    """What became of attempts that ended otherwise: a task's state, for those who wait for its cancellation."""
    failed: int = 0
    completed: int = 0
    """Those that ended well and are among the updates: more is to be stored of them than a `Completion` holds."""


class FactKeeper:
    """Turns ends of attempts into facts, and puts back into the window what is to run (again)."""

    def __init__(self, queue: str, window: Window, rng: random.Random) -> None:
        self._queue = queue
        self._window = window
        self._rng = rng
        self.facts = Facts()
        self.events = EventSource()
        self.awaited: set[str] = set()
        """Tasks of which somebody waits to hear that they have ended."""
        self.at_most_once = False
        """Whether a run that nobody knows the end of is the last one."""

    def release(self, task: ReadyTask) -> None:
        """Put a task back that was handed out and not begun: nothing has happened, it keeps its place."""
        update = give_back(task)
        if update is not None:
            self._write(update)
            self.events.released(task)
            task = _as_stored(task, update)
        self._window.push(task)

    def cancel(self, task: ReadyTask, now: Moment, number: int | None = None, started_at: int | None = None) -> bool:
        """Cancel a task that is with no worker any more; False: it has ended before."""
        update = cancel(task, now.wall, number, started_at)
        if update is None:
            return False
        self._window.discard((task.id,))
        self._write(update)
        self.events.cancelled(task, update)
        self.facts.cancelled.add(task.id)
        return True

    def ended(self, flight: Flight, record: Record, started_at: int, *, unwanted: bool = False) -> None:
        """Apply the record of an end, good or bad, of the attempt that began then."""
        if record.mark == _COMPLETED:
            if flight.task.interruptions >= ALONE:
                self._judge(flight.task, None)
            task_id = flight.task.id
            attempt = flight.attempt if flight.state == TaskState.EXECUTING else flight.attempt + 1
            ended = (task_id, flight.state, attempt, started_at, record.at, record.payload.decode(), record.number)
            # Made for each task: by the named tuple's own constructor it would take twice as long.
            self.events.completed(flight, started_at, record.at)
            completion = tuple.__new__(Completion, ended)
            if flight.logs or flight.stored_launched is not None:
                logs = json.dumps(flight.logs) if flight.logs else None
                self._write(complete(flight.as_stored(), completion, logs))
                self.facts.completed += 1
            else:
                self.facts.change.completions.append(completion)
            if task_id in self.awaited:
                self.facts.ended[task_id] = TaskState.COMPLETED
            return
        if record.mark == _CANCELLED:
            self.events.began(flight, started_at)
            self.cancel(flight.as_stored(), Moment(record.at, 0.0), record.number, started_at)
            return
        said = json.loads(record.payload)
        kind, trace, discard = ErrorKind(said["kind"]), said["traceback"], said["discard"]
        exit_name = said.get("exit")
        failure = Failed(kind, said["message"], started_at, record.at, trace, exit_name, discard, flight.logs)
        self.events.began(flight, started_at)
        self.failed(flight.as_stored(), record.number, failure, unwanted=unwanted)

    def failed(self, task: ReadyTask, number: int, failure: Failed, *, unwanted: bool = False) -> None:
        """Apply a failure: the task waits for its retry, goes back, dies, or is cancelled (`unwanted`)."""
        task = self._judge(task, failure.kind)
        if self.at_most_once:
            failure = lose(failure)
        self._apply(task, fail(task, number, failure, self._rng, unwanted=unwanted), failure)

    def _judge(self, task: ReadyTask, kind: ErrorKind | None) -> ReadyTask:
        task, ruling = judge(task, kind)
        if ruling is not None:
            self.facts.change.rulings.append(ruling)
        return task

    def _apply(self, task: ReadyTask, transition: Transition, failure: Failed) -> None:
        update = transition.update
        self._write(update)
        self.events.failed(task, failure, transition)
        if transition.error is not None and transition.error.charged:
            self.facts.failed += 1
        if update.state == TaskState.CANCELLED:
            self.facts.cancelled.add(task.id)
            return
        self.facts.ended[task.id] = update.state
        if update.state == TaskState.AVAILABLE:
            self._window.push(_as_stored(task, update))
        elif update.state == TaskState.DEAD:
            at = failure.finished_at
            self.facts.dead.append(DeadTask(task.id, self._queue, at, failure.kind, failure.message))

    def _write(self, update: TaskUpdate) -> None:
        self.facts.change.updates.append(update)


def _as_stored(task: ReadyTask, update: TaskUpdate) -> ReadyTask:
    """Return the task as it will be held in memory once the update is stored."""
    return task._replace(
        state=update.state,
        attempt=update.attempt,
        failures=update.failures,
        interruptions=update.interruptions,
        lane=update.lane,
        rank=update.rank,
        hand_out=update.hand_out,
    )
