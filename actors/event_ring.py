"""The newest events, numbered: what a reader that comes back can still have."""

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

from callboard.actors.messages import EventBatch


class Read(NamedTuple):
    """What a reader gets: `missed` events before these are not there any more; the next read is after `upto`."""

    batches: tuple[EventBatch, ...]
    missed: int
    upto: int


class EventRing:
    """Holds at most so many events and bytes (the newest batch always), and forgets the oldest batches first."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._batches: deque[EventBatch] = deque()
        self._bytes = 0
        self.last = 0
        """Number of the newest event, 0 before the first."""

    @property
    def oldest(self) -> int:
        """Number of the oldest event that is there; that of the next one where there is none."""
        return self._batches[0].first if self._batches else self.last + 1

    def add(self, queue: str, count: int, packed: bytes) -> EventBatch:
        """Take in the next events."""
        batch = EventBatch(self.last + 1, count, queue, packed)
        self._batches.append(batch)
        self._bytes += len(packed)
        self.last += count
        while len(self._batches) > 1 and (self.last - self.oldest >= self._max_events or self._bytes > self._max_bytes):
            self._bytes -= len(self._batches.popleft().packed)
        return batch

    def start_over(self, last: int) -> None:
        """Forget everything; the next event has the number after `last`."""
        self._batches.clear()
        self._bytes, self.last = 0, last

    def read(self, after: int, queues: Collection[str] = (), max_bytes: int | None = None) -> Read:
        """Return the batches with events after this number: of these queues (and of none), () for all.

        Some at least, and no more than about `max_bytes`. The first batch may begin with events that the reader has.
        """
        missed = max(0, self.oldest - 1 - after)
        chosen: list[EventBatch] = []
        size, upto = 0, self.last
        for batch in self._since(after):
            if queues and batch.queue and batch.queue not in queues:
                continue
            if chosen and max_bytes is not None and size + len(batch.packed) > max_bytes:
                upto = batch.first - 1
                break
            chosen.append(batch)
            size += len(batch.packed)
        return Read(tuple(chosen), missed, max(upto, after) if after <= self.last else self.last)

    def _since(self, after: int) -> list[EventBatch]:
        newest = []
        for batch in reversed(self._batches):
            if batch.first + batch.size - 1 <= after:
                break
            newest.append(batch)
        return newest[::-1]
