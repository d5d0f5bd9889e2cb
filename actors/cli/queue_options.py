"""Read a queue's settings from flags."""

import tomllib
from typing import Any

import typer
from pydantic import ValidationError

from callboard.conf.explain import explain
from callboard.conf.settings import QueueSettings, check_queue_name


def read_settings(name: str, worker: str, concurrency: int | None, options: list[str]) -> QueueSettings:
    """Return the settings, or say for wrong usage what is wrong with them."""
    if reason := check_queue_name(name):
        raise typer.BadParameter(f"{name!r}: {reason}")
    values: dict[str, Any] = {"worker": worker} if worker else {}
    if concurrency is not None:
        values["concurrency"] = concurrency
    for option in options:
        key, equals, text = option.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"--set {option}: write KEY=VALUE")
        _put(values, key.split("."), _read(text), option)
    try:
        return QueueSettings.model_validate(values)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in detail["loc"])
        raise typer.BadParameter(f"{place}: {explain(QueueSettings, detail)}") from None


def _read(text: str) -> Any:
    """Read a value as the configuration file has it; a text needs no quotes here."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], keys: list[str], value: Any, option: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise typer.BadParameter(f"--set {option}: {key} is set to a value already")
    values[keys[-1]] = value
