"""What goes into a store and comes out of it: rows and changes, as plain data.

Times are microseconds since the epoch; JSON columns are texts. Named tuples where there are thousands a second.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from callboard.actors.task import NewTask, Task, TaskState


class ReadyTask(NamedTuple):
    """A task as the Queue holds it in memory: what is needed to run it and to decide what follows."""

    id: str
    type: str
    context: str
    priority: int
    lane: int
    rank: int
    attempt: int
    failures: int
    """Charged failures since the budget was last fresh."""
    interruptions: int
    """Uncharged interruptions in a row; from 1,000 on: see `suspicion`."""
    max_retries: int
    backoff: str
    timeout_ms: int
    state: str
    """As stored: available, claimed, executing, scheduled or retryable."""
    hand_out: int
    """Number of the last hand-out whose outcome is stored; 0: none."""


class Insert(NamedTuple):
    """A new row. `state` is available, claimed, executing or scheduled; `attempt`/`started_at` are set for executing."""

    task: NewTask
    state: str
    lane: int
    rank: int
    attempt: int = 0
    started_at: int | None = None


class Completion(NamedTuple):
    """The fast path of an update: a task that ended well. `was`: its stored state until now."""

    id: str
    was: str
    attempt: int
    started_at: int
    finished_at: int
    result: str
    hand_out: int


class TaskUpdate(NamedTuple):
    """Every column of a task that can change, as it is to be from now on. `error`: JSON text to append to `errors`.

    None in `result`, `logs` and `launched` sets them to NULL.
    """

    id: str
    was: str
    state: str
    lane: int
    rank: int
    priority: int
    run_at: int | None
    """None: stays as it is."""
    attempt: int
    failures: int
    interruptions: int
    started_at: int | None
    finished_at: int | None
    result: str | None
    hand_out: int
    error: str | None = None
    logs: str | None = None
    """What the attempt that ended well has logged: a JSON list of lines."""
    launched: int | None = None
    """The process that the task has left running, and waits for."""


class Ruling(NamedTuple):
    """What was found out about a suspect: a task whose last charged error says `"suspect": true`.

    That becomes false. Where it is not guilty, so does `charged` there, `failures` falls by one and `interruptions` to 0.
    """

    id: str
    guilty: bool


class HandOut(NamedTuple):
    """A batch that a worker has. `ids[i]` is the task of token i; "" where it was taken back."""

    number: int
    """Rises with every hand-out of a queue, over all its incarnations."""
    worker: str
    ids: tuple[str, ...]


KEY_MICROSECONDS = 24 * 3600 * 1_000_000
"""How long an idempotency key is remembered."""


class KeyUse(NamedTuple):
    """One use of an idempotency key: kept 24 h, in the transaction of its tasks."""

    key: str
    fingerprint: str
    ids: tuple[str, ...]
    queue: str = ""


@dataclass(slots=True)
class Change:
    """All that one transaction does to one queue, in this order."""

    inserts: list[Insert] = field(default_factory=list)
    updates: list[TaskUpdate] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    hand_outs: list[HandOut] = field(default_factory=list)
    """Inserted, or replaced when the number is there already (tasks taken back)."""
    hand_outs_ended: list[int] = field(default_factory=list)
    keys: list[KeyUse] = field(default_factory=list)
    rulings: list[Ruling] = field(default_factory=list)
    """Out of the order: before the updates and completions, which may be of the same tasks."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to store."""
        return bool(self.inserts or self.completions or self.updates or self.hand_outs or self.hand_outs_ended or self.keys)


@dataclass(frozen=True, slots=True)
class Ownership:
    """What `own` found: the new incarnation and where the last owner left off."""

    incarnation: int
    last_rank: int
    """When the last task came in this queue (0: none): a number of `Places`, which is its rank but with aging."""
    last_hand_out: int
    counts: dict[TaskState, int]
    paused: bool
    settings: str
    """JSON text of the queue's settings."""
    settings_version: int = 0


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as stored. `configured`: the configuration file's section last seen (JSON text, "" if made at run time)."""

    name: str
    settings: str
    configured: str
    paused: bool
    created_at: int
    settings_version: int


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a list shows; None means any. `created_before`/`after` in microseconds."""

    queue: str | None = None
    state: TaskState | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of tasks, newest first, and the opaque cursor of the next page (None: the end)."""

    tasks: list[Task]
    next_cursor: str | None
