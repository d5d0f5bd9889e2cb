"""`callboard bench`: measure speed, recovery and memory on this machine."""

import signal
from typing import Annotated

import typer

from callboard.actors.cli.options import AsJson


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard bench --quick")(bench)


def bench(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure less, in a quarter of a minute: for a first impression.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill every kind of process instead, and measure the recovery.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory", help="Measure what a million waiting tasks cost instead.")] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="Measure consumers that fetch and acknowledge tasks over HTTP instead.")
    ] = False,
    tasks: Annotated[
        int | None,
        typer.Option(min=1, help="Tasks in each round; with --memory, the size of the large backlog.", show_default=False),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Measure on the disk of this store, in a new folder beside it, or in new schemas of this PostgreSQL "
            "database; it is not touched itself.",
            show_default="the system's place for temporary files",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a server of its own, measure it beside what could be reached at best, and leave nothing behind.

    It needs about a minute, with --kill two, with --memory several. What it is doing goes to standard error. It fails
    (exit code 1) when a task was lost, doubled or run again without reason, not when a target of speed was missed:
    that depends on the machine, and on what else this does.
    """
    from callboard.actors.bench.plan import Plan
    from callboard.actors.bench.report import notes, to_json, to_tables
    from callboard.actors.bench.run import run_bench
    from callboard.actors.cli.output import print_json, print_table
    from callboard.actors.errors import CallboardError
    from callboard.actors.store.opening import sqlite_path
    from callboard.conf.store_url import is_postgres

    # Stopped like by Ctrl-C: SIGTERM alone would leave the folder behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    database = store if store is not None and is_postgres(store) else ""
    beside = None if store is None or database else sqlite_path(store).parent
    sizes = Plan.of(quick=quick, tasks=tasks)
    measured = run_bench(sizes, beside, kill=kill, memory=memory, pull=pull, database=database)
    if as_json:
        print_json(to_json(measured))
    else:
        for table in to_tables(measured):
            print(table.title)
            print_table(table.columns, table.rows)
            print()
        print(*notes(measured), sep="\n")
    if measured.recovery is not None and not measured.recovery.sound:
        raise CallboardError("the kills did harm to tasks, see above")
