"""How fast a queue is worked: events a second and busy workers, over the last minute."""

from collections import deque

SECONDS = 60


class Rates:
    """Counts events in one-second buckets. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._buckets: deque[tuple[int, dict[str, float]]] = deque()

    def add(self, name: str, amount: float, now: float) -> None:
        """Count so much of this now."""
        if not amount:
            return
        second = int(now)
        if not self._buckets or self._buckets[-1][0] != second:
            self._buckets.append((second, {}))
            self._forget(now)
        bucket = self._buckets[-1][1]
        bucket[name] = bucket.get(name, 0.0) + amount

    def per_second(self, name: str, now: float) -> float:
        """Return the average a second over the last minute, or since the start if that is shorter."""
        self._forget(now)
        total = sum(bucket.get(name, 0.0) for _, bucket in self._buckets)
        return total / min(max(now - self._since, 1.0), float(SECONDS))

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0][0] <= now - SECONDS:
            self._buckets.popleft()
