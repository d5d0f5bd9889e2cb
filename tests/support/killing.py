"""Find the processes of a test, kill and stop them."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from callboard.actors import processes
from callboard.actors.processes import Ident
from tests.support.polling import eventually


def carrying(name: str, value: str) -> set[Ident]:
    """Return all live processes that were started with this environment variable, or forked from such."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or is somebody else's
            if process.environ().get(name) == value and (ident := processes.identify(process.pid)) is not None:
                found.add(ident)
    return {ident for ident in found if processes.is_alive(ident)}


def kill(ident: Ident) -> None:
    """SIGKILL a process and wait until it is dead."""
    assert processes.kill(ident), f"{ident} had ended before"
    eventually(lambda: not processes.is_alive(ident))


@contextlib.contextmanager
def stopped(ident: Ident) -> Iterator[None]:
    """Stop a process with SIGSTOP, and let it go on at the end of the block if it still lives."""
    os.kill(ident.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if processes.is_alive(ident):
            os.kill(ident.pid, signal.SIGCONT)


def children(parent: Ident) -> set[int]:
    """Return the process ids of all children."""
    listing = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if listing.exists():
        return {int(pid) for pid in listing.read_text().split()}
    return {child.pid for child in psutil.Process(parent.pid).children()}


def kill_next_child(parent: Ident, before: set[int], within: float = 30) -> Ident:
    """SIGKILL the child that a process has beyond those of `before`, as soon as it has an id, and return it."""
    deadline = time.monotonic() + within
    while not (new := children(parent) - before):  # without a pause: it is to be caught in its first moments
        assert time.monotonic() < deadline, f"{parent} has started no other child"
    pid = new.pop()
    os.kill(pid, signal.SIGKILL)
    ident = processes.identify(pid)
    return ident if ident is not None else Ident(pid, 0)
