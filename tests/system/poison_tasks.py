"""Handlers that do what no handler should. Each is a type of its own, so that its innocent neighbours share its batches."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

from callboard.actors.handlers import TaskContext

PATH = "tests.system.poison_tasks:run"
"""The worker path of `run`, for a configuration."""
HOARD: list[bytearray] = []
"""What `hoard_memory` never lets go."""


def run(context: dict[str, Any], ctx: TaskContext) -> Any:
    """Work a little; with `poison` in the context do what the type is named for. `pids`: a file for those it starts."""
    if not context.get("poison"):
        time.sleep(0.001)
        return len(bytes(1 << 20))
    poison: Callable[[Path], Any] = globals()[ctx.type]
    return poison(Path(context["pids"]))


# ---------------------------------------------------------------- dies


def segfault(_pids: Path) -> None:
    ctypes.string_at(0)


def abort(_pids: Path) -> None:
    os.abort()


def exit_at_once(_pids: Path) -> None:
    os._exit(7)


def exit_as_if_well(_pids: Path) -> None:
    os._exit(0)


def kill_group(_pids: Path) -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def overflow_stack(_pids: Path) -> None:
    sys.setrecursionlimit(100_000_000)
    _fall(0)


def _fall(depth: int) -> Any:
    return sorted([depth + 1], key=_fall)  # through C, whose stack has an end


def close_all_files(_pids: Path) -> None:
    os.closerange(3, 4096)


def close_really_all_files(_pids: Path) -> None:
    os.closerange(0, 4096)


def replace_all_files(_pids: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for name in list(Path("/proc/self/fd").iterdir()):
        if int(name.name) > 2:
            with contextlib.suppress(OSError):  # the one with which they were listed is closed by now
                os.dup2(null, int(name.name))


# ---------------------------------------------------------------- raises


def sys_exit(_pids: Path) -> None:
    sys.exit(3)


def raise_base_exception(_pids: Path) -> Never:
    raise BaseException("beneath contempt")  # noqa: TRY002  # the point


def raise_keyboard_interrupt(_pids: Path) -> Never:
    raise KeyboardInterrupt


def recurse(pids: Path) -> None:
    recurse(pids)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("I will not say")

    __repr__ = __str__


def raise_unspeakable(_pids: Path) -> Never:
    raise UnspeakableError


def raise_at_length(_pids: Path) -> Never:
    raise ValueError("\0\udcff" + "x" * 5_000_000)


def take_memory(_pids: Path) -> None:
    bytearray(1 << 30)


def hoard_memory(_pids: Path) -> None:
    while True:
        HOARD.append(bytearray(1 << 16))


# ---------------------------------------------------------------- returns what it must not


def return_object(_pids: Path) -> object:
    return object()


def return_nan(_pids: Path) -> dict[str, float]:
    return {"share": float("nan")}


def return_set(_pids: Path) -> set[int]:
    return {1, 2}


def return_circle(_pids: Path) -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def return_too_much(_pids: Path) -> str:
    return "x" * 2_000_000


# ---------------------------------------------------------------- leaves something running


def leave_subprocess(pids: Path) -> None:
    _note(pids, subprocess.Popen(["sleep", "600"]).pid)


def leave_detached_subprocess(pids: Path) -> None:
    _detach(pids)


def crash_beside_subprocesses(pids: Path) -> None:
    leave_subprocess(pids)
    _detach(pids)
    ctypes.string_at(0)


def _detach(pids: Path) -> None:
    """Start a grandchild in a session of its own whose parent has ended."""
    if middle := os.fork():
        os.waitpid(middle, 0)
        return
    os.setsid()
    if pid := os.fork():
        _note(pids, pid)
        os._exit(0)
    os.execvp("sleep", ["sleep", "600"])


def return_twice(pids: Path) -> None:
    """Fork: the child comes back from the handler as well."""
    if pid := os.fork():
        _note(pids, pid)
        # Until it has come back and ended, however long that takes; it is left to the worker to be reaped.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def leave_alarm(_pids: Path) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.005)


# ---------------------------------------------------------------- never returns


def sleep_for_ever(_pids: Path) -> None:
    time.sleep(600)


def ignore_signals(_pids: Path) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(600)


def catch_everything(_pids: Path) -> None:
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


def hold_the_interpreter(_pids: Path) -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # C code, for longer than the universe has been there


def wait_for_itself(_pids: Path) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def stop_itself(_pids: Path) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def never_return_beside_subprocesses(pids: Path) -> None:
    leave_subprocess(pids)
    _detach(pids)
    time.sleep(600)


# ---------------------------------------------------------------- only makes a noise


def print_garbage(_pids: Path) -> None:
    for stream in (1, 2):
        os.write(stream, bytes(range(256)) * 64)
    sys.stdout.write("Callboard is ready on http://127.0.0.1:1 (data in /nowhere)\n\0\x1b[2J no end of line")
    sys.stdout.flush()


def _note(path: Path, pid: int) -> None:
    with path.open("a") as file:
        file.write(f"{pid}\n")
