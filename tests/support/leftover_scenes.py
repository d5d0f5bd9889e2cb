"""Run as a program: leave subprocesses behind in several ways, and print what `kill_leftovers` made of each.

A process of its own, for it kills all of its children.
"""

import json
import multiprocessing.resource_tracker
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from callboard.actors import processes
from callboard.actors.leftovers import kill_leftovers


def nothing() -> None:
    """Leave nothing."""


def sleeper() -> None:
    """Leave one that would sleep for long."""
    _start("sleep", "1234")


def ending() -> None:
    """Leave one that is just ending."""
    _start("sleep", "0.02")


def unwaited() -> None:
    """Leave one that has ended and that nobody waited for."""
    child = _start("true")
    while child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.001)


def family() -> None:
    """Leave one with a child of its own, which comes to us when its parent is killed."""
    shell = _start("sh", "-c", "sleep 1234 & wait")
    while not shell.children():
        time.sleep(0.001)


def detached() -> None:
    """Leave one that has left its parent, its session and its group."""
    subprocess.run(["setsid", "sh", "-c", "sleep 1234 >/dev/null 2>&1 &"], check=True)


def stubborn() -> None:
    """Leave one that ignores all that can be ignored."""
    child = _start("sh", "-c", "trap '' TERM INT HUP; echo; while :; do sleep 1; done")
    while not child.children():
        time.sleep(0.001)


def helper() -> None:
    """Have the standard library start a process that it keeps for itself."""
    multiprocessing.resource_tracker.ensure_running()


SCENES: list[Callable[[], None]] = [nothing, sleeper, ending, unwaited, family, detached, stubborn, helper]


def _start(*command: str) -> psutil.Process:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    child.returncode = 0  # Popen is not to wait for it, nor to complain that nobody did
    return psutil.Process(child.pid)


def main() -> None:
    """Play all scenes."""
    processes.become_subreaper()
    report = {}
    for scene in SCENES:
        scene()
        killed = kill_leftovers()
        report[scene.__name__] = {"killed": killed, "left": [child.name() for child in psutil.Process().children()]}
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    with suppress(ChildProcessError):  # a scene may have reaped it
        multiprocessing.resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
    os._exit(0)


if __name__ == "__main__":
    main()
