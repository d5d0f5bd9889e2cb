"""The order in which a queue's tasks run, as a key of two numbers: (lane, rank), smaller first.

Strict: lane = -priority, and rank is when the task came; nothing of a lower priority runs before the last of a higher one.

Aging: all tasks share one lane, and rank = when it came - priority * aging. So a task is overtaken by one that is p levels
more urgent only if that one came less than p * aging later: what comes later still waits its turn, whatever its priority.
The lane tells the aging that the rank was made with, so that rows of another setting are known, and can be put in order.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

AGING_LANES: Final = 2**60
"""Beyond all priorities. The lane of an aging of so many milliseconds comes so many further."""
LAST_RANK: Final = 2**63 - 1
_MOST_AHEAD: Final = 2**61
"""So many microseconds, at most, a priority is worth: some 70,000 years. With the clock's it still fits into 64 bits."""

Key = tuple[int, int]


class Order(NamedTuple):
    """How a queue orders its tasks. aging_ms: how much waiting counts as one level of priority, 0 for strict."""

    aging_ms: int = 0

    @classmethod
    def of_lane(cls, lane: int) -> "Order":
        """Return the order that a row of this lane was placed by."""
        return cls(max(lane - AGING_LANES, 0))

    def place(self, priority: int, came: int) -> Key:
        """Return the lane and rank of a task that came then (a number of `Places`, in microseconds)."""
        if not self.aging_ms:
            return -priority, came
        return AGING_LANES + self.aging_ms, came - self._ahead(priority)

    def came(self, priority: int, rank: int) -> int:
        """Return when a task of this rank came: the inverse of `place`."""
        return rank + self._ahead(priority)

    def strays(self) -> Iterator[tuple[Key | None, int]]:
        """Yield where rows may be that were placed by another order: after which key, and in lanes up to which."""
        if self.aging_ms:
            own = AGING_LANES + self.aging_ms
            yield None, own - 1
            yield (own, LAST_RANK), LAST_RANK
        else:
            yield (AGING_LANES, LAST_RANK), LAST_RANK

    def _ahead(self, priority: int) -> int:
        return max(-_MOST_AHEAD, min(priority * self.aging_ms * 1_000, _MOST_AHEAD))


STRICT: Final = Order()


def came(lane: int, rank: int, priority: int) -> int:
    """Return when a task came that has this place, whatever order it was placed by."""
    return rank if lane < AGING_LANES else Order.of_lane(lane).came(priority, rank)


def replaced(lane: int, rank: int, priority: int, order: Order) -> Key:
    """Return the place in this order of a task that has this one in whatever order it was placed by."""
    return order.place(priority, came(lane, rank, priority))
