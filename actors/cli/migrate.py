"""`callboard migrate`: bring the store to this version's schema without starting a server."""

import typer

from callboard.actors.cli.options import AsJson
from callboard.actors.cli.serve import ConfigFile, ServedDataDir, StoreUrl


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard migrate --data-dir ./var")(migrate)


def migrate(
    config: ConfigFile = None, data_dir: ServedDataDir = None, store: StoreUrl = None, as_json: AsJson = False
) -> None:
    """Bring the store up to date, or create it.

    serve does the same at its start; this is for doing it beforehand.
    """
    from callboard.actors.cli.output import print_json
    from callboard.actors.errors import DataDirectoryInUse
    from callboard.actors.processes import is_alive
    from callboard.actors.runtime import Runtime, make_private_folder
    from callboard.actors.store.opening import migrate as bring_up_to_date
    from callboard.conf.loading import load_settings

    settings = load_settings(config, {"store": {"url": store}, "data_dir": data_dir})
    runtime = Runtime.read(settings.data_dir)
    if runtime is not None and any(map(is_alive, runtime.pids.values())):
        raise DataDirectoryInUse(f"a server is running on {settings.data_dir}: stop it first")
    make_private_folder(settings.data_dir)
    migrated = bring_up_to_date(settings.store_url)
    if as_json:
        print_json({"store": settings.shown_store_url, "migrated": migrated})
    else:
        print(f"{settings.shown_store_url} {'was brought up to date' if migrated else 'is up to date'}")
