"""Decide whether a client sends a request again, and when: pure, so that the rules can be read and tested in one place.

A request that was never sent, or that was refused because the server is overloaded or not ready, changed nothing and may
always be sent again. One whose answer was lost may have been done: it is sent again only if that can't do it twice.
"""

import random
from enum import Enum
from typing import Final

from callboard.actors.answers import TOO_MANY, UNAVAILABLE

FIRST_WAIT_SECONDS: Final = 0.05
LONGEST_WAIT_SECONDS: Final = 2.0


class Loss(Enum):
    """What became of an attempt that had no answer."""

    NOT_SENT = "not sent"
    ANSWER_LOST = "answer lost"


def wait_before_next(
    attempt: int, failure: Loss | int, *, retry_after: str | None, repeatable: bool, left: float, rng: random.Random
) -> float | None:
    """Return the seconds until the request is sent again, or None when its failure is final.

    attempt: how many there were; failure: a loss or the answer's status; retry_after: the answer's header of that name;
    repeatable: doing it twice is the same as doing it once; left: seconds to the deadline.
    """
    if failure is Loss.ANSWER_LOST and not repeatable:
        return None
    if isinstance(failure, int) and failure not in {TOO_MANY, UNAVAILABLE}:
        return None
    wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(attempt - 1, 10), LONGEST_WAIT_SECONDS)
    # Between half of it and all: many clients that lost one server don't all come back at the same moment.
    wait *= 0.5 + rng.random() / 2
    if retry_after is not None and retry_after.isdecimal():
        wait = max(wait, float(retry_after))
    return wait if wait < left else None
