"""Keep the coverage data of processes that are killed, by writing it several times a second.

Coverage writes its data when a process ends; SIGKILL, which most of our processes end by in some test, leaves no
moment for that. `arrange` is for the pytest process; in the processes that it starts, this module is a plugin of
coverage's (`coverage_init`), found through PYTHONPATH. What ran in a process's last SAVE_SECONDS may be missing.
"""

import _thread
import copy
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
    saver = Saver()
    saver.follow_exits()
    saver.follow_forks()


def coverage_init(_registry: Any, _options: Any) -> None:
    """Begin to save; coverage calls this in each process that was started as a program of its own."""
    saver = Saver()
    saver.follow_exits()
    saver.follow_forks()
    saver.start()


class Saver:
    """Writes this process's data for as long as it is measured, and that of what is forked from it.

    One save at a time: no fork may happen in the middle of one, or the child would inherit locks that nobody opens, and the
    end of the process must wait for it, or it would close the file under it (that was a segmentation fault). Hence `turn`,
    which its holder may take again: the handler of a signal that comes while it saves saves too.
    """

    def __init__(self) -> None:
        self.turn = _thread.RLock()

    def follow_exits(self) -> None:
        """Have coverage, which saves at the end of the process, wait for a save that is under way."""
        save, turn = Coverage.save, self.turn

        def save_in_turn(coverage: Coverage) -> None:
            with turn:
                save(coverage)

        Coverage.save = save_in_turn  # type: ignore[assignment, method-assign]

    def follow_forks(self) -> None:
        os.register_at_fork(before=self.turn.acquire, after_in_parent=self.turn.release, after_in_child=self.restart)

    def restart(self) -> None:
        self.turn.release()
        self.start()

    def start(self) -> None:
        # Not a threading.Thread: it would be traced, counted among our threads, and waited for at the end.
        _thread.start_new_thread(self.save_often, ())

    def save_often(self) -> None:
        begun = False
        while True:
            time.sleep(SAVE_SECONDS)
            with self.turn:
                coverage = Coverage.current()  # None before it starts, and from just before its last save on
                if coverage is not None:
                    begun = True
                    save_so_far(coverage)
                elif begun:
                    return


def save_so_far(coverage: Coverage) -> None:
    """Write what has been collected until now, and leave what the other threads collect meanwhile.

    Coverage's own `save` empties its sets when it has written them, with what has come in between: lines that run only
    once are lost by that. So a copy is written, and only what is in the copy is removed.
    """
    collector = coverage._collector
    assert collector is not None
    if not collector._activity():
        return
    # First: what is collected from here on counts as activity again.
    for tracer in collector.tracers:
        tracer.reset_activity()
    taken: dict[str, Any] = {}
    for name, collected in collector.data.copy().items():
        taken[name] = collected.copy()
        collected.difference_update(taken[name])
    written = copy.copy(collector)
    written.data, written.tracers, written._activity = taken, [], lambda: True  # type: ignore[method-assign]
    written.flush_data()
