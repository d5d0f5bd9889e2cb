"""The kinds of value that options take: each is written as text in the configuration and held as a number in Python.

Each kind reads its text, writes it back in the same form (so a dump of the settings can be loaded again), and describes
itself for the OpenAPI document.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from callboard.actors.errors import InvalidOption
from callboard.actors.options import format_duration, parse_duration, parse_priority, show_priority

DEAD_LETTER = "dead_letter"
"""The queue that is always there, without configuration."""

_QUEUE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_WORKER_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_SIZE = re.compile(r"(\d+) ?(B|KiB|MiB|GiB|TiB)")
_UNIT_BYTES = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}


def refuse(reason: str) -> PydanticCustomError:
    """Make the error that stands in a report just as it is written, without pydantic's own words around it."""
    return PydanticCustomError("option", "{reason}", {"reason": reason})


def check_queue_name(name: str) -> str | None:
    """Tell why a queue can't be made under this name, None if it can."""
    if name == DEAD_LETTER:
        return f"{DEAD_LETTER} is always there and can't be configured"
    if not _QUEUE_NAME.fullmatch(name):
        return "a queue's name is 1 to 63 of a-z, 0-9, '_', '.' and '-', and begins with a letter or digit"
    return None


def parse_size(text: str) -> int:
    """Turn `256 MiB`, `64KiB` or `1000 B` into bytes. Raises `InvalidOption` for anything else and for nothing at all."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise InvalidOption(f"{text!r} is not a size: write for example 512 KiB, 256 MiB or 2 GiB")
    size = int(found[1]) * _UNIT_BYTES[found[2]]
    if not size:
        raise InvalidOption("must be greater than 0")
    return size


def format_size(size: int) -> str:
    """Write bytes in the form that `parse_size` reads, in the largest unit that keeps them exact."""
    unit = next(unit for unit, factor in _UNIT_BYTES.items() if size % factor == 0)
    return f"{size // _UNIT_BYTES[unit]} {unit}"


def _reader(parse: Callable[[str], int], words: dict[str, int | None], example: str) -> Callable[[Any], int | None]:
    """Make the validator that reads such a text or one of these words."""

    def read(value: Any) -> int | None:
        if not isinstance(value, str):
            raise refuse(f"{value!r} is not {example}")
        if value in words:
            return words[value]
        try:
            return parse(value)
        except InvalidOption as error:
            raise refuse(str(error)) from None

    return read


def _writer(write: Callable[[int], str], none: str) -> Callable[[int | None], str]:
    return lambda value: none if value is None else write(value)


def _read_priority(value: Any) -> int:
    try:
        return parse_priority(value if isinstance(value, str | int) else "")
    except InvalidOption as error:
        raise refuse(str(error)) from None


def _queue_name(name: str) -> str:
    if reason := check_queue_name(name):
        raise refuse(reason)
    return name


def _worker_path(path: str) -> str:
    if not _WORKER_PATH.fullmatch(path):
        raise refuse(f"{path!r} is not a worker: write module:attribute, for example callboard.actors.samples:Sleep")
    return path


def _maybe_worker_path(path: str) -> str:
    return _worker_path(path) if path else path


def _word(word: str) -> str:
    if "\0" in word:
        raise refuse("must have no NUL character")
    return word


def _command(words: tuple[str, ...]) -> tuple[str, ...]:
    if words and not words[0].strip():
        raise refuse(f"names no program: {_A_COMMAND}")
    return words


def _handler(handler: Any) -> str | tuple[str, ...]:
    if isinstance(handler, str):
        return _worker_path(handler)
    if not handler or not isinstance(handler, list | tuple) or not all(isinstance(word, str) for word in handler):
        raise refuse(f"{handler!r} is neither a worker nor a command: write module:attribute, or {_A_COMMAND}")
    return _command(tuple(map(_word, handler)))


_A_COMMAND = 'a list of texts, for example ["java", "-jar", "report.jar"]'
_A_DURATION = "a duration: write for example 250ms, 5s, 1m30s, 2h or 7d"
_A_SIZE = "a size: write for example 512 KiB, 256 MiB or 2 GiB"

QueueName = Annotated[str, AfterValidator(_queue_name)]
WorkerPath = Annotated[str, AfterValidator(_worker_path)]
WorkerPathOrNone = Annotated[str, AfterValidator(_maybe_worker_path)]
"""A worker path, or "" for none."""

Command = Annotated[tuple[Annotated[str, AfterValidator(_word)], ...], AfterValidator(_command)]
"""A program and its arguments, or nothing for none."""

Handler = Annotated[
    str | tuple[str, ...],
    PlainValidator(_handler),
    PlainSerializer(lambda handler: handler if isinstance(handler, str) else list(handler), return_type=str | list[str]),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""What runs a type of tasks: a worker path or a command."""

Duration = Annotated[
    int,
    BeforeValidator(_reader(parse_duration, {}, _A_DURATION)),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["250ms", "5s", "1m30s"]}),
]
"""Milliseconds."""

DurationOrOff = Annotated[
    int | None,
    BeforeValidator(_reader(parse_duration, {"off": None}, f'"off" or {_A_DURATION}')),
    PlainSerializer(_writer(format_duration, "off"), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["off", "10s"]}),
]
"""Milliseconds, None for `off`."""

DurationOrNever = Annotated[
    int | None,
    BeforeValidator(_reader(parse_duration, {"never": None, "off": None}, f'"never" or {_A_DURATION}')),
    PlainSerializer(_writer(format_duration, "never"), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["5m", "never"]}),
]
"""Milliseconds, None for `never` (or `off`)."""

DurationOrForever = Annotated[
    int | None,
    BeforeValidator(_reader(parse_duration, {"forever": None}, f'"forever" or {_A_DURATION}')),
    PlainSerializer(_writer(format_duration, "forever"), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["7d", "forever"]}),
]
"""Milliseconds, None for `forever`."""

Size = Annotated[
    int,
    BeforeValidator(_reader(parse_size, {}, _A_SIZE)),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["1 MiB"]}),
]
"""Bytes."""

SizeOrNone = Annotated[
    int | None,
    BeforeValidator(_reader(parse_size, {"": None}, _A_SIZE)),
    PlainSerializer(_writer(format_size, ""), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["256 MiB", ""]}),
]
"""Bytes, None for the empty text: no limit."""

Priority = Annotated[
    int,
    BeforeValidator(_read_priority),
    PlainSerializer(show_priority, return_type=str | int),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"enum": ["low", "high"]}]}),
]
"""Higher runs first; `low` is 0, `high` 1."""
