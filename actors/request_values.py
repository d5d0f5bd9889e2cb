"""Read the values that Python programs give, and say under its name which option does not take one.

A type hint keeps nobody from giving something else, and what comes from a program's own input is often text.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from callboard.actors.errors import InvalidOption
from callboard.actors.options import Backoff, BackoffStrategy

MAX_KEY: Final = 255
_BACKOFF: Final = ("strategy", "base_ms", "factor", "cap_ms", "jitter")


def check_text(value: object, field: str, *, blank: bool = False) -> None:
    """Raise `InvalidOption` for what is no text, or (unless it may be) blank."""
    if not isinstance(value, str):
        raise InvalidOption("must be a text", field=field)
    if not value and not blank:
        raise InvalidOption("can't be blank", field=field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidOption("has half a surrogate pair, which can't be written as UTF-8", field=field) from None


def check_integer(value: object, field: str) -> None:
    """Raise `InvalidOption` for what is no integer."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption("must be an integer", field=field)


def check_key(key: str) -> str:
    """Return an idempotency key. Raises `InvalidOption` for what no header can hold."""
    text: object = key
    if not (isinstance(text, str) and 0 < len(text) <= MAX_KEY and text.isascii() and text.isprintable()):
        raise InvalidOption(f"must be 1 to {MAX_KEY} printable ASCII characters", field="idempotency_key")
    return key


def read_moment(value: datetime | str | None) -> datetime | None:
    """Return a `run_at`, which may be written as in HTTP. Raises `InvalidOption`."""
    moment: object = value
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            moment = None
    elif moment is None:
        return None
    if not isinstance(moment, datetime):
        raise InvalidOption('must be a datetime, or a text such as "2026-01-31T09:15:00Z"', field="run_at")
    if moment.tzinfo is None:
        raise InvalidOption("needs its offset: datetime(..., tzinfo=UTC)", field="run_at")
    return moment


def read_backoff(value: Backoff | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is given of a backoff, in the form of HTTP. Raises `InvalidOption`; the ranges are looked at later."""
    given: object = value.to_json() if isinstance(value, Backoff) else value
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InvalidOption("must be a Backoff or a mapping", field="backoff")
    found = {name: option for name, option in given.items() if option is not None}
    for name, option in found.items():
        if name not in _BACKOFF:
            raise InvalidOption(f"unknown option {name}, known are {', '.join(_BACKOFF)}", field=f"backoff.{name}")
        if name == "strategy":
            if option not in list(BackoffStrategy):
                raise InvalidOption(f"must be one of {', '.join(BackoffStrategy)}", field="backoff.strategy")
        elif name in {"base_ms", "cap_ms"}:
            check_integer(option, f"backoff.{name}")
        elif isinstance(option, bool) or not isinstance(option, int | float):
            raise InvalidOption("must be a number", field=f"backoff.{name}")
    return found
