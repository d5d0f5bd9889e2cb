"""Put the command line together: which commands there are, and how they are grouped."""

from importlib.metadata import version
from typing import Annotated, Any

import typer

from callboard.actors.cli import bench, config, dead, enqueue, events, migrate, queue, queues, serve, tasks, tree
from callboard.actors.cli.session import Session

_COMMAND_MODULES = (serve, enqueue, tasks, queues, queue, dead, events, tree, config, migrate, bench)
"""Each has a function `add_to(app)`; `callboard --help` shows them in this order."""


def make_command() -> Any:
    """Return the whole command line."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )
    app.callback(invoke_without_command=True)(_callboard)
    for module in _COMMAND_MODULES:
        module.add_to(app)
    return typer.main.get_command(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"callboard {version('callboard')}")
        raise typer.Exit


def _callboard(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run and look after a durable task queue.

    All commands but serve talk to the server whose data directory is given by --data-dir or CALLBOARD_DATA_DIR (./var
    if by neither). They end with 0 when all is done, 1 when something failed, 2 for wrong usage, and 3 when no server
    runs there.
    """
    context.ensure_object(Session).debug = debug
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
