"""Claim a data directory: one server at a time, private, writable, and free of what a dead server has left running."""

import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Final

from callboard.actors import processes
from callboard.actors.errors import CallboardError, DataDirectoryInUse
from callboard.actors.runtime import LOCK_FILE, Runtime, machine_boot_id, make_private_folder, run_folder, runtime_path

RELEASED_WITHIN_SECONDS: Final = 5.0
BURIED_WITHIN_SECONDS: Final = 2.0


class DataDirectoryUnusable(CallboardError):
    """The data directory cannot be made, entered or written."""


def claim(data_dir: Path) -> int:
    """Make the data directory, take its lock, and end what a dead server has left; return the lock's descriptor.

    The lock is a `flock`, and the descriptor is inherited by the whole tree on purpose: as long as any process of a server
    lives, no other can start. Raise DataDirectoryInUse if a live server has it, DataDirectoryUnusable if it can't be used.
    """
    try:
        make_private_folder(data_dir)
        make_private_folder(run_folder(data_dir))
        with tempfile.TemporaryFile(dir=data_dir):
            pass
        lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryUnusable(f"the data directory {data_dir} cannot be used: {error.strerror or error}") from error
    try:
        _take(lock, data_dir)
    except BaseException:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _take(lock: int, data_dir: Path) -> None:
    runtime = Runtime.read(data_dir)
    if runtime is not None and runtime.boot_id != machine_boot_id():
        runtime = None  # its process ids are of another life of the machine
    supervisor = None if runtime is None else runtime.pids.get("supervisor")
    if supervisor is not None and processes.is_alive(supervisor):
        # Also where somebody has removed the lock file under it.
        raise _in_use(data_dir, f"by the server with process id {supervisor.pid}", runtime)
    if runtime is not None:
        _let_undertaker_finish(runtime)
        processes.end_tree(runtime.pids.values())
    deadline = time.monotonic() + (0.0 if runtime is None else RELEASED_WITHIN_SECONDS)
    while not _try_lock(lock):
        if time.monotonic() >= deadline:
            pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
            raise _in_use(data_dir, f"by the server with process id {pid}" if pid else "by another server", runtime)
        time.sleep(0.02)
    runtime_path(data_dir).unlink(missing_ok=True)


def _let_undertaker_finish(runtime: Runtime) -> None:
    """Wait a moment for the dead server's undertaker: killed at work, it would let go of what it has not killed yet."""
    undertaker = runtime.pids.get("undertaker")
    deadline = time.monotonic() + BURIED_WITHIN_SECONDS
    while undertaker is not None and processes.is_alive(undertaker) and time.monotonic() < deadline:
        time.sleep(0.005)


def _in_use(data_dir: Path, by_whom: str, runtime: Runtime | None) -> DataDirectoryInUse:
    where = "" if runtime is None else f" on {runtime.http}"
    return DataDirectoryInUse(f"the data directory {data_dir} is in use {by_whom}{where}")


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
