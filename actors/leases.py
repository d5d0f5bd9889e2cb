"""The tasks that consumers have fetched, each until its lease ends: plain data, and how a lease is stored and named.

A lease is a hand-out of one task. Its row names the consumer instead of a worker, so whoever owns the queue next finds
it and goes on with it: a consumer's claim does not care which process owns the queue.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from callboard.actors.crew import Moment
from callboard.actors.messages import Want
from callboard.actors.options import MAX_LEASE_MS
from callboard.actors.store import HandOut, ReadyTask

_MARK: Final = "lease"
_FIELDS: Final = 5


class Claim(NamedTuple):
    """What a consumer shows to prove that it has a task: which queue, which hand-out, which task."""

    queue: str
    number: int
    task_id: str

    def __str__(self) -> str:
        """Write it as consumers get it; to them it means nothing."""
        return f"{self.queue}:{self.number}:{self.task_id}"

    @classmethod
    def read(cls, text: str) -> "Claim | None":
        """Read what a consumer has shown; None for what we have never written."""
        parts = text.split(":")
        if len(parts) != len(cls._fields) or not (parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) < 19):  # noqa: PLR2004
            return None
        return cls(parts[0], int(parts[1]), parts[2])


@dataclass(slots=True)
class Lease:
    """One fetched task. `task`: as stored, without its context.

    started_at, until: microseconds since the epoch; ends: monotonic seconds, which decide as long as this process lives.
    """

    task: ReadyTask
    number: int
    want: str
    consumer: str
    started_at: int
    until: int
    ends: float

    def row(self) -> HandOut:
        """Return the lease as the store keeps it."""
        who = f"{_MARK}:{self.started_at}:{self.until}:{self.want}:{self.consumer}"
        return HandOut(self.number, who, (self.task.id,))

    def renewed(self, lease_ms: int, now: Moment) -> "Lease":
        """Return the lease as it is after a heartbeat."""
        until, ends = _end(lease_ms, now)
        return Lease(self.task, self.number, self.want, self.consumer, self.started_at, until, ends)


def new_lease(task: ReadyTask, number: int, want: Want, now: Moment) -> Lease:
    """Lease a task from now on; `task`: as it is stored with the lease."""
    return Lease(task._replace(context=""), number, want.id, want.consumer, now.wall, *_end(want.lease_ms, now))


def is_lease(row: HandOut) -> bool:
    """Tell whether a hand-out is one to a consumer."""
    return row.worker.startswith(f"{_MARK}:")


def read_lease(row: HandOut, task: ReadyTask, now: Moment) -> Lease:
    """Return a lease that an earlier owner has given, for what is left of it."""
    _, started_at, until, want, consumer = row.worker.split(":", _FIELDS - 1)
    # A clock that was set back meanwhile must not lengthen it without end.
    left_ms = min((int(until) - now.wall) / 1_000, MAX_LEASE_MS)
    return Lease(
        task._replace(context=""), row.number, want, consumer, int(started_at), int(until), now.mono + left_ms / 1_000
    )


def _end(lease_ms: int, now: Moment) -> tuple[int, float]:
    return now.wall + lease_ms * 1_000, now.mono + lease_ms / 1_000


class Leases:
    """All leases of one queue, by task, by want, and in the order in which they end."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        self._wants: dict[str, dict[str, None]] = {}
        # What is in it and not held any more, or held for longer, is skipped when its time comes.
        self._ends: list[tuple[float, int, str]] = []

    def __len__(self) -> int:
        """Return how many tasks consumers have."""
        return len(self._held)

    def __iter__(self) -> Iterator[Lease]:
        """Go through all leases."""
        return iter(self._held.values())

    def put(self, lease: Lease) -> None:
        """Note a lease, or that it was renewed."""
        self._held[lease.task.id] = lease
        self._wants.setdefault(lease.want, {})[lease.task.id] = None
        heapq.heappush(self._ends, (lease.ends, lease.number, lease.task.id))
        if len(self._ends) > 2 * len(self._held) + 100:  # consumers that beat often must not fill the memory
            self._ends = [(held.ends, held.number, held.task.id) for held in self._held.values()]
            heapq.heapify(self._ends)

    def remove(self, task_id: str) -> None:
        """Note that the task is with its consumer no more."""
        lease = self._held.pop(task_id)
        of_want = self._wants[lease.want]
        del of_want[task_id]
        if not of_want:
            del self._wants[lease.want]

    def of_task(self, task_id: str) -> Lease | None:
        """Return the task's lease."""
        return self._held.get(task_id)

    def of_want(self, want: str) -> list[Lease]:
        """Return what a want got and still holds."""
        return [self._held[task_id] for task_id in self._wants.get(want, ())]

    def expired(self, now: float) -> list[Lease]:
        """Return the leases that have ended by now (monotonic seconds)."""
        found = {}
        while self._ends and self._ends[0][0] <= now:
            _, number, task_id = heapq.heappop(self._ends)
            lease = self._held.get(task_id)
            if lease is not None and lease.number == number and lease.ends <= now:
                found[task_id] = lease
        return list(found.values())

    def next_end(self) -> float:
        """Return when `expired` may have something to tell, infinity for never."""
        return self._ends[0][0] if self._ends else float("inf")
