"""The writers' turn: processes that write to one SQLite file queue up here instead of meeting "database is locked"."""

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from callboard.actors.errors import StoreUnavailable

WAIT_SECONDS = 5.0
POLL_SECONDS = 0.002
_OPEN: Final[dict[tuple[int, int], int]] = {}
"""The descriptors of this process's turns by device and inode: the locks are the process's own, and so must these be."""


class _TooLong(Exception):
    """The alarm rang while we waited; never leaves this module."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


def _opened(path: Path) -> int:
    """Return the descriptor of a file, which a process opens once: whoever visits a store often would run out of them."""
    file = _known(path)
    if file is None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _OPEN[_identity(os.fstat(file))] = file
    os.fchmod(file, 0o600)  # whatever the umask took away
    return file


def _known(path: Path) -> int | None:
    try:
        wanted = _identity(path.stat())
        file = _OPEN.get(wanted)
        # A forked process inherits what we know, but may have closed the descriptor and used its number for another file.
        return file if file is not None and _identity(os.fstat(file)) == wanted else None
    except OSError:
        return None


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


class Turn:
    """A POSIX record lock on a file of its own: free the moment its holder dies, even by SIGKILL.

    The file is opened once a process and never closed, because closing *any* descriptor of a file drops all locks that the
    process has on it. The lock is the process's, not the object's: inside one process SQLite's own busy timeout keeps the
    order.
    """

    def __init__(self, path: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._file = _opened(path)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have the turn inside the block. Raises `StoreUnavailable` when it did not come by the deadline."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait()
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _wait(self) -> None:
        # Signals, and so the alarm, arrive in the main thread only.
        waited = self._block() if threading.current_thread() is threading.main_thread() else self._poll()
        if not waited:
            raise StoreUnavailable(
                f"waited {self._wait_seconds:g} s for the writers' turn ({self._path.name}): "
                "another process holds it, perhaps a stopped one",
            )

    def _block(self) -> bool:
        """Sleep in the kernel until the lock is ours; a holder that is stopped never returns it, hence the alarm."""
        before = signal.signal(signal.SIGALRM, _ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, self._wait_seconds)
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except _TooLong:
            fcntl.lockf(self._file, fcntl.LOCK_UN)  # the alarm may ring just after the lock was given
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return True

    def _poll(self) -> bool:
        deadline = time.monotonic() + self._wait_seconds
        while time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            with contextlib.suppress(BlockingIOError):  # not yet: asked again until the deadline
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False
