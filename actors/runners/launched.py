"""Wait for a process that a task has launched, whoever's child it is, or kill it."""

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import Any, Final

from callboard.actors.handlers import ProcessEnd
from callboard.actors.processes import Ident, descendants, identify, is_alive, kill

_LOOK_AGAIN_SECONDS: Final = 0.05


def pid_of(process: Any) -> int | None:
    """Return the id of what a task calls its process, None if it can't be one."""
    pid = process.pid if isinstance(process, subprocess.Popen) else process
    if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 1 or pid == os.getpid():
        return None
    return pid


def wait_for(process: Any, pid: int) -> ProcessEnd:
    """Wait until it has ended, which it may have done before.

    How it ended is known of children, those included that were left to this process by their parents.
    """
    if isinstance(process, subprocess.Popen):
        return ProcessEnd(pid, process.wait())
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        _wait_for_stranger(pid)
        return ProcessEnd(pid, None)
    return ProcessEnd(pid, os.waitstatus_to_exitcode(status))


def kill_launched(process: Ident) -> None:
    """SIGKILL it with its process group, if it leads one, and with what it has started.

    A stranger is left alone: it would survive the end of this process as well.
    """
    me = identify(os.getpid())
    if me is None or process not in descendants(me) or not is_alive(process):
        return
    family = descendants(process)
    with contextlib.suppress(OSError):  # it has just ended, and its group with it
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    for one in (process, *family):
        kill(one)


def _wait_for_stranger(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not Linux, or an old one
        _poll(pid)
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def _poll(pid: int) -> None:
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            pass
        time.sleep(_LOOK_AGAIN_SECONDS)
