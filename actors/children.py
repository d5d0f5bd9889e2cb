"""Keep an actor's children by their processes: who is ready, who is late, who has ended and how.

Thespian says that a child has ended by its address, without an exit status, and not at all if it ended before it was
connected. The child's `multiprocessing.Process` knows: it is taken from thespian's privates here, and nowhere else.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any, Final

from thespian.actors import ActorAddress

from callboard.actors import process_groups, processes
from callboard.actors.errors import CallboardError
from callboard.actors.processes import Ident

UNREADY_CHECK_SECONDS: Final = 0.25
CHECK_SECONDS: Final = 2.0


class SpawnFailed(CallboardError):
    """No process could be started for an actor."""


@dataclass(eq=False, slots=True)
class Child:
    """One child actor and its process; two are the same only if they are the same object."""

    address: ActorAddress
    """Where to send to; its own messages come from another form of it, so compare with `==`, never by identity."""
    process: BaseProcess
    kind: str
    """The actor class's name."""
    name: str
    pid: int
    ident: Ident | None
    """Who it is, for others that must be able to name it; None if it had ended before it was looked up."""
    started_at: float
    """All times are `time.monotonic()`."""
    ready_by: float
    ready: bool = False
    late: bool = False
    """It was killed because its ready deadline had passed."""
    last_heard: float = field(default=0.0)

    def uptime(self, now: float) -> float:
        """Return for how many seconds it has been running."""
        return now - self.started_at


class Children:
    """The children of one actor, in the order in which they were started."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._children))

    def __len__(self) -> int:
        return len(self._children)

    def spawn(self, manager: Any, create: Callable[[], ActorAddress], kind: str, name: str, ready_within: float) -> Child:
        """Create an actor through `create` and keep its process; `manager` is thespian's, behind the parent actor.

        Raise SpawnFailed if there is no new process (thespian only logs that a fork failed).
        """
        _kill_groups_before_reaping(manager)
        before = list(getattr(manager, "_child_procs", []))
        address = create()
        added = [info for info in getattr(manager, "_child_procs", []) if info not in before]
        if not added:
            raise SpawnFailed(f"no process could be started for {kind} {name!r}")
        process: BaseProcess = added[-1].childProc
        assert process.pid is not None
        now = time.monotonic()
        ident = processes.identify(process.pid)
        child = Child(address, process, kind, name, process.pid, ident, now, now + ready_within, last_heard=now)
        self._children.append(child)
        return child

    def at(self, address: ActorAddress) -> Child | None:
        """Return the child that a message came from, or None."""
        return next((child for child in self._children if child.address == address), None)

    def take_ended(self) -> list[Child]:
        """Return, once, the children whose processes have ended; `process.exitcode` tells how."""
        ended = [child for child in self._children if _has_ended(child.process)]
        self._children = [child for child in self._children if child not in ended]
        return ended

    def take_late(self, now: float) -> list[Child]:
        """Return, once, the children that are not ready though their deadline has passed."""
        late = [child for child in self._children if not child.ready and not child.late and child.ready_by <= now]
        for child in late:
            child.late = True
        return late

    def forget_strays(self, manager: Any) -> None:
        """Strike off thespian's list children that have no process any more: it would wait for them before it exits.

        They come from children that died between connecting and the handling of that.
        """
        alive = [getattr(info, "childRealAddr", info.childAddr) for info in getattr(manager, "_child_procs", [])]
        manager._children = [address for address in manager._children if address in alive]  # noqa: SLF001  # thespian's own

    def next_check(self, now: float) -> float | None:
        """Return when to look again, or None without children; soon while some are not ready (see the module's text)."""
        if not self._children:
            return None
        unready = [child.ready_by for child in self._children if not child.ready and not child.late]
        if not unready:
            return now + CHECK_SECONDS
        return max(now, min(now + UNREADY_CHECK_SECONDS, *unready))


def _has_ended(process: BaseProcess) -> bool:
    process_groups.kill_group_of_the_dead(process)
    if process.exitcode is None:
        return False
    # Its two pipes would stay open until the garbage collector comes by, which may be after there are no descriptors left.
    process._popen.close()  # type: ignore[attr-defined]  # noqa: SLF001  # `close` of the process itself would upset thespian
    return True


def _kill_groups_before_reaping(manager: Any) -> None:
    """Have thespian, which reaps a child as soon as it has ended, kill what is left of its process group first.

    Afterwards it can't be done: with the child reaped, its group's number may belong to others.
    """
    check = type(manager)._checkChildLiveness  # noqa: SLF001  # thespian's own

    def kill_group_and_check(info: Any) -> bool:
        process_groups.kill_group_of_the_dead(info.childProc)
        return bool(check(info))

    manager._checkChildLiveness = kill_group_and_check  # noqa: SLF001  # thespian's own
