"""Make the settings of file, environment and flags, or say everything that is wrong with them at once."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from callboard.actors.errors import SettingsError
from callboard.conf.environment import Environment, read_environment
from callboard.conf.explain import KEY, explain
from callboard.conf.settings import Settings

DEFAULTS_FILE: Final = Path(__file__).with_name("callboard.toml")
"""The configuration of a server that was given none."""

FLAGS: Final = {
    ("http", "host"): "--host",
    ("http", "port"): "--port",
    ("store", "url"): "--store",
    ("data_dir",): "--data-dir",
}
"""How the command line calls the options that it can override."""

_TABLES: Final = frozenset({"dict_type", "model_type"})


def load_settings(
    config: Path | None, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings: defaults, overridden by the file, by the environment, and by the flags.

    `overrides` is nested like the file; what is None in it was not given. Without a file, the shipped one is used.
    Raises `SettingsError` with one line for each problem.
    """
    file = _read(config or DEFAULTS_FILE)
    environment = read_environment(environ)
    problems = list(environment.problems)
    if "data_dir" in file:
        # The commands that talk to the server don't read its file: they would look for it in another place.
        problems.append("data_dir: can't be set in the file, use --data-dir or CALLBOARD_DATA_DIR")
        del file["data_dir"]
    flags = _merged({}, overrides or {})
    try:
        settings = Settings.model_validate(_merged(_merged(file, environment.values), flags))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems += [f"{_place(detail, environment, flags)}: {_reason(detail)}" for detail in details]
    else:
        if not problems:
            return settings
    raise SettingsError("\n".join(problems))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:  # tomllib names line and column; bytes that aren't UTF-8 end here too
        raise SettingsError(f"{path} is not TOML: {error}") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; where they meet, what is above wins, unless it is None."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping):
            inner = merged.get(key, {})
            # Where the file has something else than a table, that is the mistake to report.
            merged[key] = _merged(inner, value) if isinstance(inner, Mapping) else inner
        elif value is not None:
            merged[key] = value
    return merged


def _reason(detail: ErrorDetails) -> str:
    return "must be a table" if detail["type"] in _TABLES else explain(Settings, detail)


def _place(detail: ErrorDetails, environment: Environment, flags: Mapping[str, Any]) -> str:
    """Name the flag, the variable or the option of the file that the refused value came from."""
    loc = [part for part in detail["loc"] if part != KEY]
    path = tuple(str(part) for part in loc)
    if path in FLAGS and _has(flags, path):
        return FLAGS[path]
    for length in range(len(path), 0, -1):
        if variable := environment.variables.get(path[:length]):
            return variable
    *table, option = [_written(part) for part in loc]
    while option.startswith("["):  # the place in a list belongs to the list's name
        option = table.pop() + option
    return f"[{'.'.join(table)}] {option}" if table else option


def _has(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    here: Any = values
    for part in path:
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True


def _written(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return part if part.replace("-", "_").isidentifier() else f'"{part}"'
