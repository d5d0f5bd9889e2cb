"""The workers that are measured: one that does nothing, and one that takes 20 ms and leaves a record of it."""

import os
import time
from typing import Any, Final

from callboard.actors.handlers import TaskContext, Worker

NAP_SECONDS: Final = 0.02
NAP_LOG: Final = "naps.log"
BEGUN: Final = "B"
ENDED: Final = "E"


def noop(_: dict[str, Any]) -> None:
    """Do nothing: what is left is what Callboard itself costs."""


class Nap(Worker):
    """Sleep, and write both ends of it to a file: what was written there survives any kill, and tells who ran when."""

    def __init__(self) -> None:
        self._log: int | None = None

    def perform(self, task: TaskContext) -> None:
        """Sleep for 20 ms."""
        if self._log is None:
            self._log = os.open(task.data_dir / NAP_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._write(self._log, BEGUN, task)
        time.sleep(NAP_SECONDS)
        self._write(self._log, ENDED, task)

    @staticmethod
    def _write(log: int, mark: str, task: TaskContext) -> None:
        # One write of less than a page at the end of the file: lines of several processes never mix.
        os.write(log, f"{mark} {time.monotonic_ns()} {os.getpid()} {task.queue} {task.id}\n".encode())
