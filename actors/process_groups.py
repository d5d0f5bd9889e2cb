"""End a child together with the process group that it leads: with what it has started and not detached."""

import os
import signal
from multiprocessing.process import BaseProcess


def _unreaped_pid(process: BaseProcess) -> int | None:
    """Return the id of a `multiprocessing` child that the kernel still keeps for us, running or zombie, else None."""
    popen = getattr(process, "_popen", None)
    return popen.pid if popen is not None and popen.returncode is None else None


def kill_group(process: BaseProcess) -> bool:
    """SIGKILL a child's process group if the child leads one, else the child; False if it has been reaped before."""
    pid = _unreaped_pid(process)
    if pid is None:
        return False
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_group_of_the_dead(process: BaseProcess) -> bool:
    """SIGKILL what a dead child that led a process group has left running in it.

    Works only before the child is reaped: until then its zombie keeps the group's number from being given away.
    """
    pid = _unreaped_pid(process)
    if pid is None:
        return False
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return ended is not None and kill_group(process)
