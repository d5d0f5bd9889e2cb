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
from typing import Protocol

from callboard.actors.ordering import STRICT, Order
from callboard.actors.store.records import (
    KEY_MICROSECONDS,
    Change,
    Completion,
    HandOut,
    Insert,
    KeyUse,
    Ownership,
    Page,
    QueueRow,
    ReadyTask,
    Ruling,
    TaskFilter,
    TaskUpdate,
)
from callboard.actors.task import Task, TaskState

__all__ = [
    "KEY_MICROSECONDS",
    "Change",
    "Completion",
    "HandOut",
    "Insert",
    "KeyUse",
    "Ownership",
    "Page",
    "QueueRow",
    "QueueStore",
    "ReadyTask",
    "Ruling",
    "Store",
    "TaskFilter",
    "TaskUpdate",
    "Transaction",
]


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

    def settings(self) -> tuple[str, int]:
        """Return the stored settings (JSON text) and their version; nobody changes them before the transaction ends."""

    def set_settings(self, settings: str) -> int:
        """Store new settings (JSON text) and return the new settings version."""

    def due(self, now: int, limit: int, first_rank: int, order: Order = STRICT) -> list[ReadyTask]:
        """Make available what is due (scheduled, retryable; earliest first, at most `limit`) and return it in order.

        In the order of `run_at` they get the places of tasks that came at `first_rank` and, each one later, after it.
        """

    def move(self, task: ReadyTask, to: str, priority: int, run_at: int | None) -> bool:
        """Move a waiting task to another queue, where it waits for its time (None: the one it has); False: no such queue.

        Its interruptions are forgotten: they were counted, and a suspect was made of it, by this queue's workers.

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
        """Create a queue or replace its settings (the version rises); counts rows are made with it.

        Raises `QueueBeingDeleted` as long as `clear_deleted` has left anything of an earlier queue of that name.
        """

    def delete_queue(self, name: str, *, only_empty: bool = False) -> int:
        """Delete the queue with all its tasks and return how many it had: from now on nobody sees or owns them.

        It takes no time: `clear_deleted` removes the rows. Raises KeyError when the queue is not in the store, or not any
        more. Later owners of a queue of that name get a higher incarnation still.

        only_empty: where there are unfinished or dead tasks, raise `QueueNotEmpty` and delete nothing. That is looked at in
        the moment from which on no task can be moved to the queue, so that none gets lost in between.
        """

    def clear_deleted(self, seconds: float) -> bool:
        """Remove what is left of deleted queues, for about so long, and tell whether nothing is left of any.

        Many short transactions: it may be cut short anywhere, and gone on with by any other store object.
        """

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
