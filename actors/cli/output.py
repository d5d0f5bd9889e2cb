"""Print what commands have found: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from callboard.actors.options import format_duration

WIDE: Final = 10_000
"""Columns where the output is no terminal: nothing is cut off in what a program reads."""
_STATE_STYLES: Final = {
    "executing": "cyan",
    "completed": "green",
    "dead": "red",
    "retryable": "yellow",
    "cancelled": "dim",
    "running": "green",
    "paused": "yellow",
    "draining": "yellow",
    "degraded": "red",
    "standby": "dim",
}
_PRECISION_MS: Final = ((86_400_000, 3_600_000), (3_600_000, 60_000), (10_000, 1_000))
"""From how long on a duration is cut to which unit."""
_BYTES_PER_MIB: Final = 2**20
_WIDE_ESCAPE: Final = 0x100
"""From this character on, two digits do not hold it."""


def print_json(data: Any) -> None:
    """Print one JSON value, indented for a terminal."""
    print(json_text(data, indent=2 if sys.stdout.isatty() else None))


def json_text(data: Any, indent: int | None = None) -> str:
    """Write JSON as people read it; where the output can't encode that, with everything but ASCII escaped.

    Every output has that trouble with half a surrogate pair, which JSON can hold and no encoding can write.
    """
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, indent=indent)
    return text


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns; None as a dash, states in their colour on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids and names are to be copied: they are never folded or cut off.
        table.add_column(column.upper(), no_wrap=column in {"id", "name", "queue", "state"}, overflow="fold")
    for row in rows:
        cells = [" ".join(shown(value).split()) for value in row]
        table.add_row(*(Text(cell, style=_STATE_STYLES.get(cell, "")) for cell in cells))
    if sys.stdout.isatty():
        Console().print(table)
        return
    console = Console(width=WIDE, color_system=None)
    with console.capture() as capture:
        console.print(table)
    # Rich fills up the last column.
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_fields(fields: dict[str, object]) -> None:
    """Print one thing, a field a line; what is not set is left out."""
    width = max(len(name) for name in fields) + 2
    for name, value in fields.items():
        if value is not None:
            first, *rest = shown(value).splitlines() or [""]
            print(f"{name + ':':<{width}}{first}")
            for line in rest:
                print(f"{'':<{width}}{line}")


def shown(value: object) -> str:
    """Return a value as a cell shows it: no control characters, which could rewrite the terminal."""
    if value is None:
        return "-"
    # JSON escapes few of them by itself.
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _escaped(ord(letter)) for letter in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < _WIDE_ESCAPE else f"\\u{code:04x}"


def duration(milliseconds: int | None) -> str | None:
    """Return a duration with as much precision as a glance takes in: `350ms`, `1m30s`, `2h5m`."""
    if milliseconds is None:
        return None
    unit = next((unit for least, unit in _PRECISION_MS if milliseconds >= least), 1)
    return format_duration(milliseconds // unit * unit)


def memory(size: int | None) -> str | None:
    """Return a number of bytes in MiB."""
    return None if size is None else f"{size / _BYTES_PER_MIB:.0f} MiB"
