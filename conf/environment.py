"""Read CALLBOARD_… variables: `CALLBOARD_HTTP__PORT` is `[http] port`, `CALLBOARD_QUEUES__SLEEP__TIMEOUT` a queue's timeout.

Lists and tables are written as JSON. A variable that means nothing is a problem: a misspelt limit must not go unnoticed.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from callboard.conf.explain import annotation_at, is_model, is_table_of_models
from callboard.conf.settings import Settings

PREFIX: Final = "CALLBOARD_"
SEPARATOR: Final = "__"


# Only its shape is used, to read the variables: `strict` makes the source turn "7" into 7 where an integer is wanted.
# An instance would read the environment again whenever stored settings are loaded.
class _Variables(BaseSettings, Settings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=SEPARATOR, strict=True)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the variables say: nested values, the variable that each place comes from, and a line for each bad variable."""

    values: dict[str, Any] = field(default_factory=dict)
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_environment(environ: Mapping[str, str]) -> Environment:
    """Read all CALLBOARD_… variables. The one that commands read too, CALLBOARD_DATA_DIR, is an option like the others."""
    found = Environment()
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX):
            continue
        path = tuple(name[len(PREFIX) :].lower().split(SEPARATOR))
        problem = _problem(path, environ[name])
        if problem:
            found.problems.append(f"{name}: {problem}")
        else:
            found.variables[path] = name
    source = EnvSettingsSource(_Variables)
    source.env_vars = {name.lower(): environ[name] for name in found.variables.values()}
    found.values.update(source())
    return found


def _problem(path: tuple[str, ...], value: str) -> str | None:
    annotation = annotation_at(Settings, path)
    if annotation is None:
        known = [SEPARATOR.join(parts).upper() for parts in _places(Settings, path[1:2])]
        near = difflib.get_close_matches(SEPARATOR.join(path).upper(), known, n=1, cutoff=0.5)  # PORT means HTTP__PORT
        return "unknown variable" + (f", did you mean {PREFIX}{near[0]}?" if near else "")
    if annotation is Path and not value:
        return "can't be blank"  # as a path it would be the working directory
    if is_model(annotation) or get_origin(annotation) in {dict, tuple}:
        try:
            json.loads(value)
        except ValueError as error:
            return f"must be JSON: {error}"
    return None


def _places(annotation: Any, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return the place of every option; `names` stands for those that are free."""
    if is_model(annotation):
        below = [(name, option.annotation) for name, option in annotation.model_fields.items()]
    elif is_table_of_models(annotation):
        below = [(name, get_args(annotation)[1]) for name in names]
    else:
        yield ()
        return
    for name, inner in below:
        for rest in _places(inner, names):
            yield (name, *rest)
