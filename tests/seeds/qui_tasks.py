"""Workers for the second seed's behaviours."""

import os
import signal
from typing import Any

from callboard.actors.handlers import Error, TaskContext, Worker
from tests.support import ledger

HERE = "tests.seeds.qui_tasks"


class Upper(Worker):
    """A kind of task together with what is done for it."""

    def perform(self, task: TaskContext) -> str:
        """Write it large."""
        return str(task.context["text"]).upper()


class Reverse(Worker):
    """Another kind."""

    def perform(self, task: TaskContext) -> str:
        """Write it backwards."""
        return str(task.context["text"])[::-1]


def play(context: dict[str, Any], ctx: TaskContext) -> None:
    """Note the run in a ledger as `ledger.run` does; then die if told so."""
    ledger.run(context, ctx)
    if context.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(context: dict[str, Any]) -> Error:
    """Fail in one of the two ways."""
    if context["raise"]:
        raise ValueError("no")
    return Error("no")
