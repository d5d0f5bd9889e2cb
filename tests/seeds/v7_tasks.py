"""A worker for events that does what each event's data say, and writes down when it ran."""

import os
import signal
from typing import Any

from callboard.actors.handlers import TaskContext, task
from tests.support import ledger

PLAY = "tests.seeds.v7_tasks:play"
"""The worker path of `play`, for a configuration."""


@task
def play(event: dict[str, Any], ctx: TaskContext) -> None:
    """Run an event: its data are what `ledger.run` takes, with `failures` (attempts) or `crashes` to fail by."""
    wish = event["event_data"]
    if not isinstance(wish, dict):
        return
    if "ledger" in wish:
        ledger.run(wish, ctx)
    if ctx.attempt <= wish.get("crashes", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if ctx.attempt <= wish.get("failures", 0):
        raise RuntimeError("as told")
