"""Have tasks write down when they run, so that their runs can be counted from outside, whatever is killed meanwhile."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callboard.actors.handlers import TaskContext, task

PATH = "tests.support.ledger:run"
"""The worker path of `run`, for a configuration."""


@dataclass(frozen=True)
class Run:
    """One run of a task. Times in nanoseconds of the machine's monotonic clock; `ended` None: it came to no end."""

    task: str
    pid: int
    begun: int
    ended: int | None = None


class Ledger:
    """The file that all runs of a test are written to, each as a line when it begins and one when it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def context(self, **more: Any) -> dict[str, Any]:
        """Return a context for `run`: `ms` to sleep, or the path of a file to wait for as `until`; `fail` to fail then."""
        return {"ledger": str(self.path), **more}

    def runs(self) -> list[Run]:
        """Return all runs in the order in which they began."""
        open_runs: dict[tuple[str, int], list[int]] = {}
        runs: list[Run] = []
        # A line that is just being written may be seen in part.
        for line in self.path.read_text().rpartition("\n")[0].splitlines():
            what, task, pid_text, at = line.split()
            pid = int(pid_text)
            if what == "begin":
                open_runs.setdefault((task, pid), []).append(len(runs))
                runs.append(Run(task, pid, int(at)))
            else:
                index = open_runs[task, pid].pop()
                runs[index] = Run(task, pid, runs[index].begun, int(at))
        return runs

    def ended(self) -> int:
        """Return how many runs have ended."""
        return sum(run.ended is not None for run in self.runs())

    def running(self) -> list[Run]:
        """Return the runs that have not ended."""
        return [run for run in self.runs() if run.ended is None]


@task
def run(context: dict[str, Any], ctx: TaskContext) -> None:
    """Run a task: note its beginning, take the time that its context says, note its end."""
    # Each line is one write at the end of the file, so that no two processes' lines get mixed up.
    file = os.open(context["ledger"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, _line("begin", ctx))
        if "until" in context:
            _wait_for(Path(context["until"]))
        elif context.get("ms"):
            time.sleep(context["ms"] / 1_000)
        if context.get("fail"):
            raise RuntimeError("told to fail")
        os.write(file, _line("end", ctx))
    finally:
        os.close(file)


def _line(what: str, ctx: TaskContext) -> bytes:
    return f"{what} {ctx.id} {os.getpid()} {time.monotonic_ns()}\n".encode()


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.002)
