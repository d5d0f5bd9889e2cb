"""Handlers that share their process with others; all note their runs in a ledger (`tests.support.ledger`)."""

import asyncio
import ctypes
import os
import time
from pathlib import Path
from typing import Any

from callboard.actors.handlers import TaskContext, task
from tests.support import ledger

WAIT = "tests.system.slots_tasks:wait"
RUN = "tests.system.slots_tasks:run"


@task
async def wait(context: dict[str, Any], ctx: TaskContext) -> int:
    """Take the time that the context says, as `ledger.run` does, on a loop; with `crash`, die then."""
    file = os.open(context["ledger"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, _line("begin", ctx))
        if "until" in context:
            while not Path(context["until"]).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
                await asyncio.sleep(0.01)
        else:
            await asyncio.sleep(context.get("ms", 0) / 1_000)
        if context.get("crash"):
            ctypes.string_at(0)
        os.write(file, _line("end", ctx))
    finally:
        os.close(file)
    return os.getpid()


@task
def run(context: dict[str, Any], ctx: TaskContext) -> Any:
    """Do in a thread what `ledger.run` does; return what the context says, if anything."""
    ledger.run(context, ctx)
    return context.get("give")


def _line(what: str, ctx: TaskContext) -> bytes:
    return f"{what} {ctx.id} {os.getpid()} {time.monotonic_ns()}\n".encode()
