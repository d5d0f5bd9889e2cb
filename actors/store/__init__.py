"""The store's contract: what a Queue actor needs to keep its tasks, and what everybody may read.

Rules every implementation keeps (one contract suite runs against all of them):

- One owner per queue. `own` raises the queue's incarnation; a `Transaction` of an older incarnation raises `Superseded`
  and changes nothing.
- A transaction is all or nothing and durable when its `with` block has ended.
- Anything that fails for reasons outside Callboard is a `StoreUnavailable`; the object can be used again afterwards.
- Times are microseconds since the epoch. JSON columns are texts here; only `Task` (for readers) holds parsed values.
- `counts` of a queue are kept in a table of their own, in the same transactions. A task that is handed out but not begun
  counts (and is shown) as available.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from callboard.actors.ordering import STRICT, Order
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


class Transaction(Protocol):
    """One open transaction of one queue's owner."""

    def apply(self, change: Change) -> None:
        """Write the change. Raises `DuplicateTask` when an inserted id exists already."""

    def existing(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that the store has (in any queue)."""

    def key_uses(self, keys: Sequence[str]) -> list[KeyUse]:
        """Return the uses of these keys, in any queue, that are younger than 24 h."""

    def set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the stored flag itself
        """Store whether the queue is paused."""

    def set_settings(self, settings: str) -> int:
        """Store new settings (JSON text) and return the new settings version."""

    def due(self, now: int, limit: int, first_rank: int, order: Order = STRICT) -> list[ReadyTask]:
        """Make available what is due (scheduled, retryable; earliest first, at most `limit`) and return it in order.

        In the order of `run_at` they get the places of tasks that came at `first_rank` and, each one later, after it.
        """

    def move(self, task: ReadyTask, to: str, priority: int, run_at: int | None) -> bool:
        """Move a waiting task to another queue, where it waits for its time (None: the one it has); False: no such queue.

        The one change that concerns two queues: their owners need nothing of one another, for the task's row and both
        counts change together, and the other owner finds it when it looks for due tasks.
        """

    def purge(self, state: TaskState, finished_before: int, limit: int) -> int:
        """Delete at most `limit` tasks of the queue in this ended state that finished before then; return how many."""

    def delete(self, ids: Sequence[str]) -> int:
        """Delete those of these tasks of the queue that have ended; return how many."""


class QueueStore(Protocol):
    """The store as one Queue actor uses it: for its own queue, from its own process, single-threaded."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction: takes the writers' turn, checks the incarnation, commits at the end of the block."""

    def ready(self, after: tuple[int, int] | None, limit: int, max_bytes: int) -> list[ReadyTask]:
        """Return available rows in the order (lane, rank) after that key: at most `limit`, about `max_bytes` of context."""

    def next_due(self) -> int | None:
        """Return the earliest `run_at` of the scheduled and retryable tasks, None if there are none."""

    def oldest_ready(self) -> int | None:
        """Return `created_at` of the oldest-ranked available task, None if there is none."""

    def load(self, ids: Sequence[str]) -> list[ReadyTask]:
        """Return these tasks of the queue, in whatever state they are; unknown ids are left out."""

    def counts(self) -> dict[TaskState, int]:
        """Return the queue's counts, from the table that every transaction keeps exact."""

    def hand_outs(self) -> list[HandOut]:
        """Return the batches that were not ended, by number: what earlier owners had handed out."""

    def close(self) -> None:
        """Let go of the store."""


class Store(Protocol):
    """The store as everybody uses it: queue definitions, and reads that go past the actors."""

    def own(self, queue: str) -> tuple[QueueStore, Ownership]:
        """Become the queue's owner. Raises KeyError when the queue is not in the store.

        Raises `OwnedElsewhere` where several servers share the store and another one has the queue: ask again, of the
        same object, which knows how long the queue has been free.
        """

    def queues(self) -> list[QueueRow]:
        """Return all queues by name."""

    def put_queue(self, name: str, settings: str, configured: str, now: int) -> QueueRow:
        """Create a queue or replace its settings (the version rises); counts rows are made with it."""

    def delete_queue(self, name: str) -> int:
        """Delete the queue and all its tasks; later owners get a higher incarnation still. Returns how many tasks went."""

    def get(self, task_id: str) -> Task | None:
        """Return one task."""

    def get_many(self, ids: Sequence[str]) -> list[Task]:
        """Return those of these tasks that exist."""

    def ended(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids whose tasks have ended (or do not exist any more)."""

    def page(self, chosen: TaskFilter, limit: int, cursor: str | None) -> Page:
        """Return a page of tasks, newest (by id) first, by keyset. Raises ValueError for a cursor that is not ours."""

    def matching_ids(self, chosen: TaskFilter, limit: int, before: str | None = None) -> list[tuple[str, str]]:
        """Return (queue, id) of the tasks that a bulk change by filter touches, newest (by id) first.

        `before`: the last id of the chunk before: a changed task may still match, and must not be found twice.
        """

    def counts(self) -> dict[str, dict[TaskState, int]]:
        """Return every queue's counts."""

    def agenda(self) -> dict[str, int]:
        """Return when each queue's owner has something to do, in microseconds: 0 at once, else its next due time.

        A queue that has neither ready nor handed-out tasks nor any that wait for their time is left out.
        """

    def version(self) -> int:
        """Return a number that changes whenever another process has written (cheap: asked many times a second)."""

    def check(self) -> None:
        """Read something small. Raises `StoreUnavailable` when the store does not answer."""

    def close(self) -> None:
        """Let go of the store."""
