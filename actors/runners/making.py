"""Which runner a handler of the configuration needs."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from callboard.actors.handler_loading import load_handler
from callboard.actors.handlers import TaskContext
from callboard.actors.runners.call import AttemptOutcome, CallRunner
from callboard.actors.runners.command import CommandRunner
from callboard.conf.learning import learned_of
from callboard.conf.settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults


class Runner(Protocol):
    """Runs one attempt after another, and turns whatever happens into an outcome."""

    def run(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt; never raises."""


class Runners(NamedTuple):
    """What runs each task type, and what the handlers say of theirs."""

    by_type: dict[str, Runner]
    learned: dict[str, TypeDefaults]


def make_runners(settings: QueueSettings, keep: Callable[[str], None], launched: Callable[[int], None]) -> Runners:
    """Make the runners of a queue's worker.

    keep: takes lines for the logs of the attempt that runs. launched: takes the process that it goes on in.
    Raises whatever keeps one from being made: a path that leads nowhere, an import, a constructor, a missing program.
    """
    loaded = {path: load_handler(path) for path in settings.handlers.values() if isinstance(path, str)}
    learned = learned_of(settings, {path: handler.options for path, handler in loaded.items()})
    by_type: dict[str, Runner] = {}
    for type_, handler in settings.handlers.items():
        if isinstance(handler, str):
            runner = CallRunner(loaded[handler], strict=settings.strict, launched=launched)
            by_type[learned[type_].name or type_] = by_type[type_] = runner
        else:
            by_type[type_] = CommandRunner(handler, keep)
    return Runners(by_type, learned)
