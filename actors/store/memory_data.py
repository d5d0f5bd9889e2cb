"""What the memory store holds: the tables as dictionaries of rows that are replaced, never changed."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from callboard.actors.store import HandOut, QueueRow
from callboard.actors.store.schema import COUNTED
from callboard.actors.task import TaskState


@dataclass(frozen=True, slots=True)
class MemoryTask:
    """A row of the table of tasks; the fields are its columns."""

    id: str
    queue: str
    state: str
    lane: int
    rank: int
    type: str
    priority: int
    max_retries: int
    timeout_ms: int
    run_at: int
    created_at: int
    created_by: str
    attempt: int
    started_at: int | None
    backoff: str
    meta: str | None
    context: str
    finished_at: int | None = None
    failures: int = 0
    interruptions: int = 0
    hand_out: int = 0
    result: str | None = None
    errors: str | None = None
    logs: str | None = None
    launched: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryQueue:
    """A queue: its definition, who owns it, and where the owner stands."""

    row: QueueRow
    incarnation: int = 0
    last_rank: int = 0
    last_hand_out: int = 0


@dataclass(frozen=True, slots=True)
class MemoryKey:
    """One stored use of an idempotency key."""

    fingerprint: str
    ids: tuple[str, ...]
    created_at: int


@dataclass(slots=True)
class MemoryData:
    """All tables. Whoever changes them holds the lock and undoes by putting a copy back."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    tasks: dict[str, MemoryTask] = field(default_factory=dict)
    queues: dict[str, MemoryQueue] = field(default_factory=dict)
    hand_outs: dict[tuple[str, int], HandOut] = field(default_factory=dict)
    keys: dict[tuple[str, str], MemoryKey] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    """The names of deleted queues, as long as nobody has cleared them."""
    incarnations: int = 0
    version: int = 0

    def copy(self) -> "MemoryData":
        """Return the tables as they are now."""
        return replace(
            self,
            tasks=dict(self.tasks),
            queues=dict(self.queues),
            hand_outs=dict(self.hand_outs),
            keys=dict(self.keys),
        )

    def restore(self, copy: "MemoryData") -> None:
        """Make the tables again what they were."""
        self.tasks, self.queues, self.hand_outs, self.keys = copy.tasks, copy.queues, copy.hand_outs, copy.keys

    def of_queue(self, queue: str) -> Iterable[MemoryTask]:
        """Return the queue's tasks."""
        return (task for task in self.tasks.values() if task.queue == queue)

    def counts(self, queue: str) -> dict[TaskState, int]:
        """Count the queue's tasks."""
        numbers = Counter(COUNTED[task.state] for task in self.of_queue(queue))
        return {state: numbers[state] for state in TaskState}
