"""How long a queue's tasks usually run, by type: what decides how many go into one batch."""

from collections.abc import Iterable

from callboard.actors.hand_out import MAX_BATCH
from callboard.actors.store import ReadyTask

BATCH_MICROSECONDS = 20_000
"""About so much work goes into one batch: enough to pay for its messages, too little for anybody to wait behind it."""
BATCH_BYTES = 1_000_000
_WEIGHT = 0.2
_CAUTION_MICROSECONDS = 5_000_000
"""So long after a crash tasks of that type go out one by one: the guilty one then hurts nobody else."""


class RunTimes:
    """A moving average of the run time of each type, in microseconds."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._cautious_until: dict[str, int] = {}

    def ran(self, type_: str, microseconds: float) -> None:
        """Take note of the run time of one task, or of the mean of some."""
        mean = self._mean.get(type_)
        self._mean[type_] = microseconds if mean is None else mean + _WEIGHT * (microseconds - mean)

    def crashed(self, types: Iterable[str], now: int) -> None:
        """Take note that a worker died that had tasks of these types."""
        for type_ in types:
            self._cautious_until[type_] = now + _CAUTION_MICROSECONDS

    def mean(self, task: ReadyTask) -> float:
        """Return how long tasks of this type take on average, in microseconds; an unknown type is taken for a long one."""
        return self._mean.get(task.type, BATCH_MICROSECONDS)

    def expected(self, task: ReadyTask, now: int) -> float:
        """Return how long the task may take, in microseconds; an unknown or suspect type fills a batch by itself."""
        if self._cautious_until.get(task.type, 0) > now:
            return BATCH_MICROSECONDS
        # A first run of a type, or an attempt after a failure, says nothing about how long this one takes.
        mean = self._mean.get(task.type)
        return BATCH_MICROSECONDS if mean is None or task.failures else max(mean, BATCH_MICROSECONDS / MAX_BATCH)
