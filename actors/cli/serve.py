"""`callboard serve`: run the server."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration file (TOML); the one that comes with Callboard if not given."),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", help="The store: sqlite:////srv/callboard.db or postgresql://user@host/database."
    ),
]
ServedDataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="CALLBOARD_DATA_DIR", help="Where the server keeps its data.", show_default="./var"),
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard serve --config callboard.toml --port 4000 --data-dir ./var")(serve)


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65_535, show_default="4000")
    ] = None,
    data_dir: ServedDataDir = None,
    store: StoreUrl = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Prints one line, with the address, when it is ready to take tasks. Flags override CALLBOARD_... variables such as
    CALLBOARD_HTTP__PORT, and these override the configuration file.
    """
    from callboard.conf.loading import load_settings

    overrides = {"http": {"host": host, "port": port}, "store": {"url": store}, "data_dir": data_dir}
    settings = load_settings(config, overrides)

    # After the settings: who has mistyped one waits only half as long for the answer.
    from callboard.actors.cli.serving import make_serving
    from callboard.actors.supervisor import supervise
    from callboard.conf.logging import configure_logging

    configure_logging(settings.log.level, settings.log.format)
    raise typer.Exit(supervise(make_serving(settings)))
