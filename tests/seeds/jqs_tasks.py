"""Workers for the first seed's behaviours."""

from typing import Any

from callboard.actors.handlers import Ok, TaskContext, Worker
from tests.support import ledger

PLAY = "tests.seeds.jqs_tasks:play"
"""The worker path of `play`, for a configuration."""


class Shout(Worker):
    """All that a new kind of worker needs."""

    def perform(self, task: TaskContext) -> str:
        """Shout."""
        return str(task.context["text"]).upper()


def play(context: dict[str, Any], ctx: TaskContext) -> None:
    """Note the run in a ledger as `ledger.run` does; fail the first `failures` attempts."""
    ledger.run(context, ctx)
    if ctx.attempt <= context.get("failures", 0):
        raise RuntimeError("as told")


def echo(context: dict[str, Any]) -> dict[str, Any]:
    """Return the context."""
    return context


def give(context: dict[str, Any]) -> Any:
    """Return what the context says, agreed on (`ok`) or not (`value`)."""
    return Ok(context["ok"]) if "ok" in context else context.get("value")
