"""Have the processes of a new actor system die with their parents, and name themselves to the one that boots them."""

import contextlib
import logging
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import callboard.actors.thespian_env  # noqa: F401  # before anything of thespian
from callboard.actors import processes
from callboard.actors.errors import CallboardError
from callboard.actors.processes import Ident

# isort: split
from thespian.system import multiprocCommon

REPORTED_WITHIN_SECONDS: Final = 5.0


class BootFailed(CallboardError):
    """The actor system did not come up."""


class Report:
    """A pipe through which the new system's processes name themselves to the one that boots them."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._open = True

    def tell(self, role: str) -> None:
        """Say that the present process has this role; once the pipe is closed, say nothing."""
        if self._open:
            os.write(self._write, f"{role} {os.getpid()}\n".encode())

    def close(self) -> None:
        """Close both ends in this process; others keep theirs."""
        if self._open:
            self._open = False
            os.close(self._read)
            os.close(self._write)

    def collect(self, *roles: str, within: float = REPORTED_WITHIN_SECONDS) -> dict[str, Ident]:
        """Wait until all these roles have been named, and return who they are; raise BootFailed if it takes too long."""
        found: dict[str, Ident] = {}
        text, deadline = b"", time.monotonic() + within
        while not found.keys() >= set(roles):
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BootFailed(f"the actor system's processes did not come up: {set(roles) - found.keys()}")
            text += os.read(self._read, 4096)
            *lines, _ = text.decode().split("\n")
            for line in lines:
                role, pid = line.split()
                if (ident := processes.identify(int(pid))) is not None:
                    found[role] = ident
        return found


def _become_member_of_the_tree(parent: int, leave_behind: Sequence[int]) -> None:
    processes.die_with_parent(parent)
    # What the booting process does on signals is not what its descendants should do.
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for descriptor in leave_behind:
        with contextlib.suppress(OSError):  # closed before
            os.close(descriptor)


@contextlib.contextmanager
def guarded(guardian: int, leave_behind: Sequence[int], report: Report) -> Iterator[None]:
    """Have admin and logger that are started meanwhile die with their parents, and name themselves.

    The admin's copy of this module keeps the changes, so that they hold for a logger that it restarts.
    """
    admin_class, start_logger = multiprocCommon.MultiProcAdmin, multiprocCommon.startupASLogger
    detach = multiprocCommon.detach_child
    forerunners: list[Any] = []

    class GuardedAdmin(admin_class):  # type: ignore[misc, valid-type]  # known at run time only
        def __init__(self, *args: Any) -> None:
            _become_member_of_the_tree(guardian, leave_behind)
            report.tell("admin")
            # Thespian's "++++ Actor System gen (3, 10) started" is news to nobody; actors set their own level.
            logging.root.setLevel(max(logging.root.level, logging.WARNING))
            super().__init__(*args)

        def run(self) -> None:
            report.close()
            super().run()

    def guarded_logger(*args: Any) -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        assert parent.pid is not None
        _become_member_of_the_tree(parent.pid, ())
        report.tell("logger")
        report.close()
        start_logger(*args)

    def detach_and_keep(process: Any) -> None:
        detach(process)
        forerunners.append(process)

    multiprocCommon.MultiProcAdmin = GuardedAdmin
    multiprocCommon.startupASLogger = guarded_logger
    multiprocCommon.detach_child = detach_and_keep
    try:
        yield
    finally:
        multiprocCommon.MultiProcAdmin = admin_class
        multiprocCommon.startupASLogger = start_logger
        multiprocCommon.detach_child = detach
        for forerunner in forerunners:
            _reap(forerunner)


def _reap(forerunner: Any) -> None:
    """Collect the process between us and the admin, which ends as soon as it has forked that.

    `join` with a timeout waits for the end of a pipe that the admin has too, so it would always time out.
    """
    deadline = time.monotonic() + REPORTED_WITHIN_SECONDS
    while forerunner.exitcode is None and time.monotonic() < deadline:
        time.sleep(0.001)
