"""Workers for the third seed's behaviours."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from callboard.actors import Discard, Error, Launched, Ok, ProcessEnd, Worker, fail, task
from callboard.actors.handlers import TaskContext

HERE = "tests.seeds.job_queue_tasks"


class Report(Worker, max_attempts=4, timeout="20s", priority="high", backoff={"base": "20ms"}):
    """Fails always, unless its context says otherwise; notes each hook in the file that this names."""

    def perform(self, task: TaskContext) -> Any:
        """Do what the context says."""
        _note(task, "perform")
        match task.context.get("do"):
            case "return error":
                return Error("sorry")
            case "discard":
                return Discard("never mind")
            case "fail":
                fail("from deep below")
            case "well":
                return Ok({"rows": 3})
        raise ValueError("no rows")

    def after_error(self, task: TaskContext, error: BaseException | Error | Discard) -> None:
        """Note what has failed; fail as well if told to."""
        _note(task, f"after_error {error}")
        if task.context.get("worse"):
            raise RuntimeError("it got worse")


class Launch(Worker):
    """Goes on in a Python program, and decides as the context says."""

    def perform(self, task: TaskContext) -> Launched:
        """Start the program."""
        process = subprocess.Popen([sys.executable, "-c", task.context["program"], *task.context.get("arguments", [])])
        if task.context.get("ended before"):
            process.wait()
        return Launched(process.pid if task.context.get("by pid") else process)

    async def after_async(self, task: TaskContext, outcome: ProcessEnd) -> Any:
        """Decide by the context, or leave it to the exit code."""
        match task.context.get("verdict"):
            case "ok":
                return Ok({"exit": outcome.exit_code})
            case "error":
                return Error(f"ended with {outcome.exit_code}")
            case "discard":
                return Discard("pointless")
            case _:
                return None


@task(max_retries=6, timeout="30s", name="tell", backoff={"preset": "exponential"})
def tell(context: dict[str, Any], ctx: TaskContext) -> None:
    """Log as many lines as it is told, then end as it is told."""
    for number in range(context.get("lines", 0)):
        ctx.log.info("line %d", number)
    if "wait" in context:
        while not Path(context["wait"]).exists():
            time.sleep(0.01)
    if context.get("fail"):
        raise RuntimeError("as told")


def _note(task: TaskContext, what: str) -> None:
    if "notes" in task.context:
        with Path(task.context["notes"]).open("a") as file:
            file.write(f"{what}\n")
