"""`callboard events`: follow what happens to tasks."""

from typing import TYPE_CHECKING, Annotated

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from collections.abc import Callable

    from callboard.actors.event import Event

RECENT = 1_000
_STYLES = {
    "started": "cyan",
    "completed": "green",
    "failed": "yellow",
    "crashed": "red",
    "timed_out": "red",
    "dead": "red",
    "gap": "bold red",
    "retry_scheduled": "yellow",
    "interrupted": "yellow",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard events --queue sleep --json")(events)


def events(
    *,
    queue: Annotated[list[str] | None, typer.Option("--queue", help="Only of this queue; may be repeated.")] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="End after what the server knows already.")] = False,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Begin after this event.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.", show_default=False)] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Print what happens to tasks, as it happens.

    With --no-follow: the newest that the server still knows, of those that have happened while somebody followed.
    """
    from callboard.actors.local_client import LocalClient

    with (
        LocalClient(data_dir) as client,
        client.subscribe(queue or (), last_id=after, recent=RECENT if no_follow else 0) as subscription,
    ):
        show = _print_json if as_json else _printer()
        for number, event in enumerate(subscription.known() if no_follow else subscription, 1):
            show(event)
            if number == limit:
                return


def _print_json(event: "Event") -> None:
    from callboard.actors.cli.output import json_text

    print(json_text(event.to_json()), flush=True)


def _printer() -> "Callable[[Event], None]":
    import sys

    from rich.console import Console
    from rich.text import Text

    from callboard.actors.cli.output import WIDE, shown
    from callboard.actors.task import format_time

    terminal = sys.stdout.isatty()
    console = Console(highlight=False) if terminal else Console(width=WIDE, color_system=None)

    def show(event: "Event") -> None:
        latency = "" if event.latency_ms is None else f"{event.latency_ms:.1f} ms"
        parts = (
            format_time(event.at),
            f"{event.kind:<15}",
            shown(event.queue),
            event.task_id,
            latency,
            shown(event.detail) if event.detail else "",
        )
        console.print(Text("  ".join(part for part in parts if part), style=_STYLES.get(event.kind, "")), soft_wrap=True)
        sys.stdout.flush()

    return show
