"""The small value types of a task's and a queue's options: durations, priorities and backoff."""

import random
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from callboard.actors.errors import InvalidOption

_UNIT_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
MAX_MILLISECONDS = 100 * 365 * 86_400_000
"""A hundred years: a longer duration is taken for a mistake."""

PRIORITY_NAMES = {"low": 0, "high": 1}
MIN_PRIORITY, MAX_PRIORITY = -(2**53 - 1), 2**53 - 1
"""The integers that every JSON reader reads exactly: a time in milliseconds is a priority, too."""

MIN_LEASE_MS = 1
MAX_LEASE_MS = 86_400_000
"""A day: a dead consumer's task waits no longer. A heartbeat renews a lease as often as one likes."""
MAX_WANTED = 1_000
"""So many tasks a consumer may fetch at once."""
MAX_CONSUMER = 200
"""Characters of a consumer's name."""


def parse_duration(text: str) -> int:
    """Turn `250ms`, `5s`, `1m30s`, `2h` or `7d` (Go's form plus days) into whole milliseconds.

    Raises `InvalidOption` for anything else, a negative or a unitless number included.
    """
    position = 0
    total = 0.0
    for part in _PART.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNIT_MILLISECONDS[part[2]]
        position = part.end()
    if text == "0":
        return 0
    if not text or position != len(text):
        message = f"{text!r} is not a duration: write for example 250ms, 5s, 1m30s, 2h or 7d"
        raise InvalidOption(message)
    if total > MAX_MILLISECONDS:
        message = f"{text!r} is longer than a hundred years"
        raise InvalidOption(message)
    return round(total)


def format_duration(milliseconds: int) -> str:
    """Write milliseconds in the form that `parse_duration` reads, largest units first."""
    if milliseconds == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _UNIT_MILLISECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_priority(value: str | int) -> int:
    """Turn `"low"`, `"high"` or an integer into the integer that sorts tasks (higher runs first)."""
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if MIN_PRIORITY <= value <= MAX_PRIORITY:
            return value
    elif value in PRIORITY_NAMES:
        return PRIORITY_NAMES[value]
    message = f'must be "low", "high" or an integer from {MIN_PRIORITY} to {MAX_PRIORITY}'
    raise InvalidOption(message)


def show_priority(priority: int) -> str | int:
    """Write 0 and 1 as `"low"` and `"high"`, any other priority as its integer."""
    return {0: "low", 1: "high"}.get(priority, priority)


class BackoffStrategy(StrEnum):
    """How the wait grows from one failure to the next."""

    NONE = "none"
    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    POLYNOMIAL = "polynomial"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed task waits at least before it may run again.

    base_ms: the wait after the first failure (polynomial: a second less); factor: growth of the exponential, exponent of the
    polynomial; cap_ms: no wait is longer;
    jitter: 0..1, the part of the wait that is added at random (0.1: up to a tenth more).
    """

    strategy: BackoffStrategy = BackoffStrategy.FIXED
    base_ms: int = 1_000
    factor: float = 2.0
    cap_ms: int = 3_600_000
    jitter: float = 0.0

    def delay_ms(self, failures: int, rng: random.Random) -> int:
        """Return the wait in milliseconds after the `failures`-th charged failure (1-based)."""
        match self.strategy:
            case BackoffStrategy.NONE:
                return 0
            case BackoffStrategy.FIXED:
                wait = float(self.base_ms)
            case BackoffStrategy.LINEAR:
                wait = float(self.base_ms) * failures
            case BackoffStrategy.POLYNOMIAL:
                wait = self.base_ms + 1_000 * float(failures) ** min(self.factor, 100.0)  # more would overflow a float
            case BackoffStrategy.EXPONENTIAL:
                # 2.0 ** 1024 overflows a float; past 64 doublings every cap has been reached anyway.
                wait = self.base_ms * self.factor ** min(failures - 1, 64)
        wait = min(wait, float(self.cap_ms))
        return round(wait * (1 + self.jitter * rng.random()))

    def to_json(self) -> dict[str, Any]:
        """Return the plain form that the store and the HTTP answers hold."""
        return asdict(self)
