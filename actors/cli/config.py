"""`callboard config`: look at the configuration without starting anything."""

import typer

from callboard.actors.cli.options import AsJson
from callboard.actors.cli.serve import ConfigFile, ServedDataDir


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(name="config", help="Look at the configuration.")
    # Without a callback, a group of one command would be that command itself.
    group.callback()(_config)
    group.command(epilog="Example: callboard config check --config callboard.toml")(check)
    app.add_typer(group)


def _config() -> None:
    """Look at the configuration without starting anything."""


def check(config: ConfigFile = None, data_dir: ServedDataDir = None, as_json: AsJson = False) -> None:
    """Check that a server could start with this configuration.

    Reads file and environment as serve does, and tries to import every worker.
    """
    from callboard.actors.cli.output import print_json
    from callboard.actors.errors import SettingsError
    from callboard.conf.loading import DEFAULTS_FILE, load_settings
    from callboard.conf.store_url import shown_url
    from callboard.conf.worker_paths import check_workers, only_fetched
    from callboard.http.auth import check_exposure

    settings = load_settings(config, {"data_dir": data_dir})
    check_exposure(settings)
    if problems := check_workers(settings.queues) + check_workers(settings.templates, "templates"):
        raise SettingsError("\n".join(problems))
    if as_json:
        shown = settings.model_dump(mode="json")
        shown["http"]["token"] = "set" if settings.http.token else ""
        shown["store"]["url"] = shown_url(settings.store.url)
        print_json(shown)
    else:
        queues = ", ".join(settings.queues) or "none"
        print(f"{config or DEFAULTS_FILE} is fine: queues {queues}; store {settings.shown_store_url}")
        for note in only_fetched(settings.queues) + only_fetched(settings.templates, "templates"):
            print(note)
