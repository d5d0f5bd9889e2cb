"""What a task leaves behind in its worker: subprocesses that outlive it."""

import os
import sys
import time

import psutil

_GRACE_SECONDS = 0.1
"""A subprocess that is just ending is given so long."""


def kill_leftovers() -> list[str]:
    """Kill the subprocesses that the last task left running and return what they were: `pid (command)`.

    One system call when there are none. The standard library's own helpers of multiprocessing are left alone.
    """
    if not _has_children():
        return []
    deadline = time.monotonic() + _GRACE_SECONDS
    while (left := _running()) and time.monotonic() < deadline:
        time.sleep(0.005)
    described = []
    # Killing one may hand its own children to this process (it is their subreaper): until none is left.
    while left:
        for child in left:
            described.append(_describe(child))
            child.kill()
        psutil.wait_procs(left, timeout=1)
        left = _running()
    return described


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _running() -> list[psutil.Process]:
    """Return the live children; those that have ended and nobody waited for are reaped."""
    helpers = _helpers()
    running = []
    for child in psutil.Process().children():
        if child.pid in helpers:
            continue
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
            else:
                running.append(child)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue
    return running


def _helpers() -> set[int]:
    """Return the processes that multiprocessing keeps for itself, which are nobody's leftover."""
    helpers = set()
    for module, holder, attribute in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        if module in sys.modules:
            pid = getattr(getattr(sys.modules[module], holder, None), attribute, None)
            if pid is not None:
                helpers.add(pid)
    return helpers


def _describe(child: psutil.Process) -> str:
    try:
        return f"{child.pid} ({' '.join(child.cmdline())[:80]})"
    except psutil.Error:
        return str(child.pid)
