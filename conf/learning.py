"""What a queue learns from its handlers: the defaults of their tasks, by type."""

from collections.abc import Mapping
from typing import Any

from callboard.conf.queue_settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults, read_type_defaults


def learned_of(settings: QueueSettings, options: Mapping[str, Mapping[str, Any]]) -> dict[str, TypeDefaults]:
    """Return what the handlers with these options (by worker path) say of the queue's types.

    The name that a handler has itself is for where the configuration gives it none: it stands for the queue's `worker`.
    Raises `InvalidOption`.
    """
    learned: dict[str, TypeDefaults] = {}
    for type_, handler in settings.handlers.items():
        if isinstance(handler, str):
            said = read_type_defaults(options[handler])
            named = "" if type_ in settings.types or said.name in settings.types else said.name
            learned[type_] = said = said.model_copy(update={"name": named})
            if named:
                learned[named] = said
    return learned
