"""Read durations as Go writes them: what programs that were made for AsyncTaskProcessor send."""

import math
import re
from fractions import Fraction
from typing import Final

from callboard.actors.errors import InvalidOption
from callboard.actors.options import MAX_MILLISECONDS

_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_MICRO: Final = 10**3
_SECOND: Final = 10**9
# Go takes both letters that are used for micro.
_NANOSECONDS: Final = {
    "ns": 1,
    "us": _MICRO,
    "\u00b5s": _MICRO,
    "\u03bcs": _MICRO,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}


def parse_go_duration(text: str) -> int:
    """Return `5s`, `1m30s`, `250ms` or `1.5h` in milliseconds, a part of one as a whole. Raises `InvalidOption`."""
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    parts = _PART.findall(unsigned)
    if unsigned != "0" and (not parts or "".join(number + unit for number, unit in parts) != unsigned):
        raise InvalidOption(f"{text!r} is not a duration: write for example 5s, 1m30s or 250ms")
    total = sum(Fraction(number.rstrip(".")) * _NANOSECONDS[unit] for number, unit in parts)
    if text.startswith("-") and total:
        raise InvalidOption(f"{text!r} is negative")
    milliseconds = math.ceil(total / 10**6)
    if milliseconds > MAX_MILLISECONDS:
        raise InvalidOption(f"{text!r} is longer than a hundred years")
    return milliseconds
