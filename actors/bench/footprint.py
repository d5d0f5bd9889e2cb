"""How much memory the processes take, and how much of a core they use while there is nothing to do."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import psutil

from callboard.actors.bench.under_test import ServerUnderTest
from callboard.actors.processes import Ident

SETTLE_SECONDS: Final = 1.0
"""What the last request has set off is over by then."""


class ProcessMemory(NamedTuple):
    """One process of the server. `size` in bytes."""

    role: str
    pid: int
    size: int


def memory_kind() -> str:
    """Name what is counted: PSS, where memory that processes share is divided among them; elsewhere what is theirs alone."""
    return "PSS" if hasattr(psutil.Process().memory_full_info(), "pss") else "USS"


def memory_of(pid: int) -> int:
    """Return a process's memory in bytes, counted as `memory_kind` says; 0 when it is gone."""
    try:
        info = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return 0
    size: int = getattr(info, "pss", info.uss)
    return size


def measure_memory(server: ServerUnderTest) -> list[ProcessMemory]:
    """Return the memory of every process of the tree."""
    roles = _roles(server)
    found = [ProcessMemory(roles.get(one.pid, "other"), one.pid, memory_of(one.pid)) for one in server.members()]
    order = list(dict.fromkeys(roles.values()))
    return sorted(found, key=lambda one: (order.index(one.role) if one.role in order else len(order), one.pid))


def measure_idle_cpu(server: ServerUnderTest, seconds: float) -> float:
    """Return what part of one core the whole tree uses, over so many seconds in which nobody asks anything."""
    time.sleep(SETTLE_SECONDS)
    members = server.members()
    used, begun = cpu_seconds(members), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(members) - used) / (time.monotonic() - begun)


def cpu_seconds(members: Iterable[Ident]) -> float:
    """Return the CPU time that these processes have used so far; those that are gone count nothing."""
    total = 0.0
    for ident in members:
        try:
            times = psutil.Process(ident.pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def memory_json(measured: Iterable[ProcessMemory]) -> dict[str, Any]:
    """Return the sizes in the form that programs read."""
    shown = [{"role": one.role, "pid": one.pid, "bytes": one.size} for one in measured]
    return {"kind": memory_kind(), "total_bytes": sum(one["bytes"] for one in shown), "processes": shown}


def _roles(server: ServerUnderTest) -> dict[int, str]:
    roles = {ident.pid: role for role, ident in sorted(server.runtime().pids.items(), key=lambda item: item[1].started)}
    for queue in server.ask("GET", "/api/queues"):
        roles[queue["pid"]] = f"queue {queue['name']}"
        roles |= {worker["pid"]: f"worker of {queue['name']}" for worker in queue["workers"]}
    # The Registry's only child that is no Queue, and that HTTP says nothing of. Without it, it has no name in the table.
    with contextlib.suppress(psutil.Error):
        others = psutil.Process(server.runtime().pids["registry"].pid).children()
        roles |= {child.pid: "events" for child in others if child.pid not in roles}
    return roles
