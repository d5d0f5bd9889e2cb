"""Wait for something with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float = 15.0, every: float = 0.01) -> T:
    """Return the first true thing that `look` returns; fail with its last answer if there is none in time."""
    deadline = time.monotonic() + within
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {within} s"
        time.sleep(every)
