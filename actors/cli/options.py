"""Options that mean the same in every command, and the types that read values as people write them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from callboard.actors.errors import InvalidOption
from callboard.actors.options import parse_duration, parse_priority

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="CALLBOARD_DATA_DIR", help="The server's data directory.", show_default="./var"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TaskIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tasks.", show_default=False)]
QueueName = Annotated[str, typer.Argument(metavar="NAME", help="The queue's name.", show_default=False)]
DEFAULT_DATA_DIR = Path("var")


def read_duration(text: str) -> int:
    """Read `5s` as milliseconds; for wrong usage, say how a duration is written."""
    try:
        return parse_duration(text)
    except InvalidOption as error:
        raise typer.BadParameter(str(error)) from None


def read_priority(text: str) -> int:
    """Read `low`, `high` or an integer."""
    try:
        return parse_priority(int(text) if text.removeprefix("-").isdecimal() else text)
    except InvalidOption as error:
        raise typer.BadParameter(str(error)) from None


def read_context(text: str) -> dict[str, Any]:
    """Read a task's context, a JSON object; `-` takes it from standard input."""
    try:
        value = json.loads(sys.stdin.read() if text == "-" else text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("must be a JSON object")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")
