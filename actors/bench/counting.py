"""Watch a queue's counts in the store, past the actors, until enough of its tasks have ended."""

import time
from typing import Final, NamedTuple

from callboard.actors.bench.load import BenchFailed
from callboard.actors.store import Store
from callboard.actors.task import TaskState

LOOK_SECONDS: Final = 0.002
STUCK_SECONDS: Final = 30.0


class Seen(NamedTuple):
    """How many tasks had ended well, and when (`time.perf_counter`) that was seen."""

    completed: int
    at: float


def completed(store: Store, queue: str) -> int:
    """Return how many tasks of the queue have ended well."""
    return store.counts()[queue][TaskState.COMPLETED]


def await_completed(store: Store, queue: str, number: int) -> Seen:
    """Wait until at least so many tasks of the queue have ended well.

    The counts are read only when the store has changed. Raises `BenchFailed` when they stop rising.
    """
    seen_version: int | None = None
    seen = Seen(-1, time.perf_counter())
    while True:
        version = store.version()
        if version != seen_version:
            # The version was read first: what is stored after that is noticed at the next turn.
            seen_version = version
            done = completed(store, queue)
            if done >= number:
                return Seen(done, time.perf_counter())
            if done != seen.completed:
                seen = Seen(done, time.perf_counter())
        if time.perf_counter() - seen.at > STUCK_SECONDS:
            left = number - seen.completed
            raise BenchFailed(f"{left} tasks of queue {queue} have not ended, and none has for {STUCK_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
