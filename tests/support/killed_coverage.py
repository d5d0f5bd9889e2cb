"""Keep the coverage data of processes that are killed, by writing it several times a second.

Coverage writes its data when a process ends; SIGKILL, which most of our processes end by in some test, leaves no
moment for that. `arrange` is for the pytest process; in the processes that it starts, this module is a plugin of
coverage's (`coverage_init`), found through PYTHONPATH. What ran in a process's last SAVE_SECONDS may be missing.
"""

import _thread
import os
import time
from pathlib import Path
from typing import Any

from coverage import Coverage

SAVE_SECONDS = 0.2


def arrange() -> None:
    """Have all processes write their data often, if coverage is being measured at all; call it once, before tests."""
    coverage = Coverage.current()
    if coverage is None:
        return
    coverage.set_option("run:plugins", [__name__.rpartition(".")[2]])
    os.environ["COVERAGE_PROCESS_CONFIG"] = coverage.config.serialize()
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    Saver().follow_forks()


def coverage_init(_registry: Any, _options: Any) -> None:
    """Begin to save; coverage calls this in each process that was started as a program of its own."""
    saver = Saver()
    saver.follow_forks()
    saver.start()


class Saver:
    """Writes this process's data for as long as it lives, and that of what is forked from it.

    No fork may happen in the middle of a save, or the child would inherit locks that nobody opens: hence `turn`.
    """

    def __init__(self) -> None:
        self.turn = _thread.allocate_lock()

    def follow_forks(self) -> None:
        os.register_at_fork(before=self.turn.acquire, after_in_parent=self.turn.release, after_in_child=self.restart)

    def restart(self) -> None:
        self.turn.release()
        self.start()

    def start(self) -> None:
        # Not a threading.Thread: it would be traced, counted among our threads, and waited for at the end.
        _thread.start_new_thread(self.save_often, ())

    def save_often(self) -> None:
        while True:
            time.sleep(SAVE_SECONDS)
            with self.turn:
                coverage = Coverage.current()
                if coverage is not None:
                    coverage.save()
