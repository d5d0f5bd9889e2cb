"""Know processes for certain, make them fall together, and end them.

A process id alone names nobody: the kernel gives it to the next process. So a process is either known by its id and start
time (`Ident`), or held as a child that has not been reaped, whose id the kernel keeps.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
INIT_PID = 1
ORPHAN_EXIT_CODE = 70
REPARENTED_WITHIN_SECONDS = 5.0


class Ident(NamedTuple):
    """One certain process: an id together with the moment at which it started.

    On Linux these are seconds since the machine's start, which setting the clock doesn't change; elsewhere since the epoch.
    """

    pid: int
    started: float


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    # use_errno and a fresh handle: cheap, and no global state. The arguments are unsigned long in the kernel.
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)) == 0


def die_with_parent(expected_parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends, and end it now if the parent has ended already.

    With `expected_parent` the process may not have been handed over to that process yet (the actor system's admin is a
    grandchild): wait for that, because the signal is also sent when the present parent ends.
    """
    parent = os.getppid() if expected_parent is None else expected_parent
    deadline = time.monotonic() + REPARENTED_WITHIN_SECONDS
    while os.getppid() != parent and time.monotonic() < deadline and psutil.pid_exists(parent):
        time.sleep(0.001)
    watched_by_kernel = _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended between the fork and the call above: then no signal will ever come.
    if os.getppid() != parent:
        os._exit(ORPHAN_EXIT_CODE)
    if not watched_by_kernel:
        threading.Thread(target=_watch_parent, args=(parent,), name="parent-watch", daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> int:
    """Make this process the parent of all orphans among its descendants; return who will be that: it, or else init."""
    return os.getpid() if _prctl(PR_SET_CHILD_SUBREAPER, 1) else INIT_PID


def identify(pid: int) -> Ident | None:
    """Return the process that has this id now, dead or alive but not reaped, or None."""
    started, _ = _look_up(pid)
    return None if started is None else Ident(pid, started)


def is_alive(ident: Ident) -> bool:
    """Return whether this very process still runs; a zombie does not."""
    started, runs = _look_up(ident.pid)
    return runs and started == ident.started


def _look_up(pid: int) -> tuple[float | None, bool]:
    """Return when the process with this id started, and whether it runs (it may be a zombie)."""
    if sys.platform != "linux":
        return _ask_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None, False
    # The name, in parentheses, may hold anything, spaces and parentheses too; what follows are plain fields.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK"), fields[0] not in {b"Z", b"X", b"x"}


def _ask_psutil(pid: int) -> tuple[float | None, bool]:
    try:
        process = psutil.Process(pid)
        return process.create_time(), process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.Error:
        return None, False


def kill(ident: Ident, number: int = signal.SIGKILL) -> bool:
    """Send this very process SIGKILL, or another signal; return False if it is gone or not ours.

    The check and the signal are two steps, but through a pidfd (where there is one) they concern the same process.
    """
    try:
        pidfd = os.pidfd_open(ident.pid)
    except OSError:
        return False
    except AttributeError:  # not Linux
        return _kill_by_id(ident, number)
    try:
        if not is_alive(ident):
            return False
        signal.pidfd_send_signal(pidfd, number)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _kill_by_id(ident: Ident, number: int) -> bool:
    if not is_alive(ident):
        return False
    try:
        os.kill(ident.pid, number)
    except OSError:
        return False
    return True


def descendants(ident: Ident) -> set[Ident]:
    """Return all children of this process, and theirs."""
    found = set[Ident]()
    with contextlib.suppress(psutil.Error):  # it has ended: then it has none
        for child in psutil.Process(ident.pid).children(recursive=True):
            if (found_child := identify(child.pid)) is not None:
                found.add(found_child)
    return found


def end_tree(idents: Iterable[Ident], within: float = 5.0) -> set[Ident]:
    """SIGKILL these processes and all their descendants, again and again until none is left; return the survivors.

    Descendants are looked up before their parents are killed, for afterwards they are somebody else's children.
    """
    doomed = set(idents)
    deadline = time.monotonic() + within
    while doomed := {ident for ident in doomed if is_alive(ident)}:
        for ident in list(doomed):
            doomed |= descendants(ident)
        if time.monotonic() > deadline:
            break
        # Parents first: a Queue that outlived its workers by a moment would take their deaths for crashes of their own.
        for ident in sorted(doomed, key=lambda ident: (ident.started, ident.pid)):
            kill(ident)
        reap_orphans(known=None, among={ident.pid for ident in doomed})
        time.sleep(0.002)
    return doomed


def child_pids() -> set[int]:
    """Return the ids of this process's direct children, zombies included."""
    try:
        return {child.pid for child in psutil.Process().children()}
    except psutil.Error:
        return set()


def reap_orphans(known: AbstractSet[int] | None = None, among: AbstractSet[int] | None = None) -> set[int]:
    """Collect the children of this process that have ended, but for those in `known`; return the ids of the collected.

    Other code waits for the known ones and needs their exit status. `among` limits the search to these ids.
    """
    reaped = set[int]()
    for pid in child_pids() if among is None else among:
        if known is None or pid not in known:
            with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    reaped.add(pid)
    return reaped


def reap_all_but(kept: int) -> None:
    """Collect all children that have ended, as long as `kept` has not: it stays a zombie, for others to see.

    Asks the kernel, where `reap_orphans` looks through all processes of the machine.
    """
    with contextlib.suppress(ChildProcessError):  # there are no children (any more)
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != kept:
            os.waitpid(ended.si_pid, os.WNOHANG)


def end_orphans(known: AbstractSet[int], within: float = 5.0) -> set[int]:
    """SIGKILL and reap all direct children that are not in `known`, until there are none; return those left over.

    For a child subreaper. It goes on for as long as there are any, because each dead one may leave its children to us.
    SIGCHLD must not be ignored: a child that the kernel reaps while we look hides those that it leaves to us just then.
    """
    deadline = time.monotonic() + within
    while (orphans := child_pids() - known) and time.monotonic() < deadline:
        for pid in orphans:
            # Safe by id: our own children keep theirs until we reap them.
            with contextlib.suppress(OSError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        reap_orphans(among=orphans)
        time.sleep(0.002)
    return child_pids() - known


def exit_name(exitcode: int) -> str | int:
    """Return the name of the signal that ended a process (`SIGSEGV`), or its exit code."""
    if exitcode >= 0:
        return exitcode
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"SIG{-exitcode}"
