"""`callboard queues`: how all queues are."""

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir

STATES = ("available", "scheduled", "retryable", "completed", "dead", "cancelled")
COLUMNS = ("name", "state", "busy", *STATES, "oldest", "tasks/s")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard queues --json | jq '.[] | {name, counts}'")(queues)


def queues(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show all queues, their tasks and their speed.

    BUSY is running tasks of the most at once; OLDEST how long the longest waiting task has been ready to run; TASKS/S
    how many completed a second over the last minute.
    """
    from callboard.actors.cli.output import print_json
    from callboard.actors.local_client import LocalClient

    with LocalClient(data_dir) as client:
        found = client.queues()
    if as_json:
        print_json(found)
    else:
        print_queues(found)


def print_queues(found: Iterable[dict[str, Any]]) -> None:
    """Print queues in a table, and under it why any of them is not in order."""
    from callboard.actors.cli.output import print_table, shown

    found = list(found)
    print_table(COLUMNS, (_row(queue) for queue in found))
    for queue in found:
        if queue["why"]:
            print(f"{queue['name']}: {shown(queue['why'])}")


def _row(queue: dict[str, Any]) -> Sequence[object]:
    from callboard.actors.cli.output import duration

    counts = queue["counts"]
    concurrency = queue["settings"]["concurrency"] if queue["settings"] else "?"
    return (
        queue["name"],
        queue["state"],
        f"{queue['running']}/{concurrency}",
        *(counts[state] for state in STATES),
        duration(queue["oldest_age_ms"]),
        f"{queue['rates']['completed']:.1f}",
    )
