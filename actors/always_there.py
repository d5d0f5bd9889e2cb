"""What can't be done with the dead letter; said alike by its owner and by the edges, which spare it the question."""

from callboard.conf.settings import DEAD_LETTER

FETCHED_FROM = "fetched from"
PAUSED = "paused"
RESUMED = "resumed"
DRAINED = "drained"
SCALED = "scaled"


def why_never(queue: str, done: str) -> str:
    """Tell why this queue can never be `done` (paused, ...), "" if it can.

    The dead letter keeps what is sent to it by name and runs none of it: there is nothing to hold back or to hurry, a
    consumer would run it after all, and drained it would not even keep it.
    """
    return f"{DEAD_LETTER} is always there and can't be {done}" if queue == DEAD_LETTER else ""
