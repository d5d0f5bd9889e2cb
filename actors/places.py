"""The places that a queue gives out: ranks that only rise, and the return of tasks that are due."""

from callboard.actors.crew import Moment
from callboard.actors.ordering import STRICT, Order
from callboard.actors.store import QueueStore, ReadyTask, Transaction

AT_ONCE = 500
"""So many due tasks become available in one transaction."""


class Places:
    """Gives ranks, and knows when the next waiting task is due. last_rank: the largest that was ever given."""

    def __init__(self, last_rank: int) -> None:
        self._last_rank = last_rank
        self._next_due: int | None = 0
        self._next_scan = 0.0
        self.promoted: list[ReadyTask] = []
        """What the transaction under way has made available."""

    def next_rank(self, now: Moment) -> int:
        """Return the next rank: ranks only rise, so a clock that steps back breaks no order."""
        return self.take_ranks(1, now)

    def take_ranks(self, count: int, now: Moment) -> int:
        """Take so many ranks, one after another, and return the first."""
        first = max(now.wall, self._last_rank + 1)
        self._last_rank = first + count - 1
        return first

    def note(self, run_at: int) -> None:
        """Take note that a task will be due then."""
        self._next_due = run_at if self._next_due is None else min(self._next_due, run_at)

    def scan(self, store: QueueStore, now: Moment, interval: float) -> None:
        """Ask the store for the next due time, every so many seconds: what no note told of is found then."""
        if now.mono >= self._next_scan:
            self._next_scan = now.mono + interval
            self._next_due = store.next_due()

    def is_due(self, now: Moment) -> bool:
        """Tell whether a waiting task is due."""
        return self._next_due is not None and self._next_due <= now.wall

    def promote(self, transaction: Transaction, now: Moment, order: Order = STRICT) -> list[ReadyTask]:
        """Make available what is due; it joins the back of its own priority."""
        self.promoted = []
        if self.is_due(now):
            first = max(now.wall, self._last_rank + 1)
            self.promoted = transaction.due(now.wall, AT_ONCE, first, order)
            self._last_rank = first + len(self.promoted)
            # The store knows what is next; should this transaction fail, it says that they are still waiting.
            self._next_due, self._next_scan = None, 0.0
        return self.promoted

    def next_look(self, now: Moment) -> float:
        """Return the monotonic time of the next due task, or of the next scan if that is earlier."""
        if self._next_due is None:
            return self._next_scan
        return min(self._next_scan, now.mono + max(self._next_due - now.wall, 0) / 1e6)
