"""Which runner a handler of the configuration needs."""

from collections.abc import Callable
from typing import Protocol

from callboard.actors.handlers import TaskContext, load_handler
from callboard.actors.runners.call import AttemptOutcome, CallRunner
from callboard.actors.runners.command import CommandRunner
from callboard.conf.settings import QueueSettings


class Runner(Protocol):
    """Runs one attempt after another, and turns whatever happens into an outcome."""

    def run(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt; never raises."""


def make_runners(settings: QueueSettings, keep: Callable[[str], None]) -> dict[str, Runner]:
    """Return what runs each of a queue's task types; `keep` takes lines for the logs of the attempt that runs.

    Raises whatever keeps one from being made: a path that leads nowhere, an import, a constructor, a missing program.
    """
    runners: dict[str, Runner] = {}
    for type_, handler in settings.handlers.items():
        if isinstance(handler, str):
            runners[type_] = CallRunner(load_handler(handler), strict=settings.strict)
        else:
            runners[type_] = CommandRunner(handler, keep)
    return runners
