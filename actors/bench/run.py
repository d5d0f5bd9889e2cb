"""Run what was asked for, in a folder that is gone afterwards."""

import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil

from callboard.actors.bench.backlog import BacklogCost, measure_backlogs
from callboard.actors.bench.footprint import ProcessMemory, measure_idle_cpu, measure_memory
from callboard.actors.bench.kills import Recovery, measure_recovery
from callboard.actors.bench.latency import Moments, measure_latency
from callboard.actors.bench.load import BenchFailed
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.pull import QUEUE as PULLED
from callboard.actors.bench.pull import PullSpeed, measure_pull
from callboard.actors.bench.speed import QUEUE, Speed, measure_speed
from callboard.actors.bench.under_test import Served, ServerUnderTest
from callboard.conf.store_url import shown_url

PREFIX: Final = "callboard-bench-"


class Ordinary(NamedTuple):
    """What is measured when nothing else is asked for. `idle_cpu`: part of one core."""

    speed: Speed
    latency: list[Moments]
    memory: list[ProcessMemory]
    idle_cpu: float


class Measured(NamedTuple):
    """What was measured, and on what; None where it was not asked for."""

    machine: dict[str, Any]
    ordinary: Ordinary | None = None
    recovery: Recovery | None = None
    backlogs: BacklogCost | None = None
    pull: PullSpeed | None = None


def run_bench(
    plan: Plan, beside: Path | None, *, kill: bool, memory: bool, pull: bool = False, database: str = ""
) -> Measured:
    """Measure recovery, backlogs and consumers as asked for; if none is, speed, latency, memory and idle CPU.

    `beside`: the folder on whose disk all of it happens, None for the system's place for temporary files. `database`: a
    PostgreSQL database, in schemas of which the tasks are kept then; "" for SQLite.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, dir=beside)
    except OSError as error:
        raise BenchFailed(f"there can't be a folder in {beside}: {error.strerror}") from None
    with folder as name, Teller() as teller:
        place = Path(name)
        machine = describe_machine(place) | {"store": shown_url(database) or "sqlite"}
        recovery = measure_recovery(_room(place, "kill"), plan, teller, database) if kill else None
        backlogs = measure_backlogs(_room(place, "memory"), plan, teller, database) if memory else None
        pulled = _measure_pull(_room(place, "pull"), plan, teller, database) if pull else None
        ordinary = None if kill or memory or pull else _measure_ordinary(place, plan, teller, database)
    return Measured(machine, ordinary, recovery, backlogs, pulled)


def describe_machine(folder: Path) -> dict[str, Any]:
    """Return what the figures depend on: figures of two machines, or of a busy one, can't be compared."""
    return {
        "callboard": version("callboard"),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cpus": os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "filesystem": filesystem_of(folder),
    }


def filesystem_of(folder: Path) -> str:
    """Return the type of the file system that a folder is on, "" if that can't be told."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (folder.resolve(), *folder.resolve().parents) if parent in mounts), "")


def _measure_ordinary(folder: Path, plan: Plan, teller: Teller, database: str) -> Ordinary:
    # The second queue has nothing to do: idle CPU is that of two queues.
    with ServerUnderTest(folder, [Served(QUEUE, "noop"), Served("idle", "noop")], database) as server:
        teller.step("one task alone", plan.latency_tasks)
        latency = measure_latency(server, QUEUE, plan.latency_tasks)
        speed = measure_speed(server, folder, plan, teller, database)
        teller.step("memory, and the CPU of an idle server")
        # After the work: what it has left behind counts.
        memory = measure_memory(server)
        return Ordinary(speed, latency, memory, measure_idle_cpu(server, plan.idle_seconds))


def _measure_pull(folder: Path, plan: Plan, teller: Teller, database: str) -> PullSpeed:
    with ServerUnderTest(folder, [Served(PULLED)], database) as server:
        return measure_pull(server, plan, teller)


def _room(place: Path, name: str) -> Path:
    room = place / name
    room.mkdir()
    return room
