"""Kill one process of the server under test, and say when its place was taken and work went on."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import httpx2
import psutil

from callboard.actors import processes
from callboard.actors.bench.load import BenchFailed
from callboard.actors.bench.naps import Mark, NapLog
from callboard.actors.bench.tasks import ENDED
from callboard.actors.bench.under_test import ServerUnderTest
from callboard.actors.runtime import Runtime

LOOK_SECONDS: Final = 0.002
RECOVERED_WITHIN_SECONDS: Final = 60.0
VITAL: Final = ("registry", "admin", "server")
"""With one of these the supervisor starts the whole server over."""

Found = TypeVar("Found")


class Kill(NamedTuple):
    """When (monotonic) a process was killed, and how many seconds later all went on."""

    role: str
    at: float
    seconds: float


class Killer:
    """Kills, and watches the recovery by what the tasks write and what the server answers."""

    def __init__(self, server: ServerUnderTest, log: NapLog) -> None:
        self._server = server
        self._log = log

    def await_steady(self, queues: tuple[str, ...]) -> None:
        """Wait until every queue has all its workers and each of them has ended a task."""
        self._eventually(lambda: all(map(self._is_steady, queues)), "the queues do not get steady")

    def kill_worker(self, queue: str) -> Kill:
        """SIGKILL one worker; recovered when a process that was not there before has ended a task of the queue."""
        return self._kill_in_queue("worker", queue, self._server.queue(queue)["workers"][0]["pid"])

    def kill_queue(self, queue: str) -> Kill:
        """SIGKILL a queue's owner, and with it its workers; recovered like a worker."""
        return self._kill_in_queue("queue", queue, self._server.queue(queue)["pid"])

    def kill_logger(self) -> Kill:
        """SIGKILL the actor system's logger; recovered when the admin has another child, and a task has ended."""
        pids = self._server.runtime().pids
        admin, before = psutil.Process(pids["admin"].pid), self._children(pids["admin"].pid)
        # After a first kill it is no longer the one in the runtime file, but whatever child is not the Registry.
        logger = next(iter(before - {pids["registry"].pid}))
        at = self._kill(logger)
        self._eventually(lambda: self._children(admin.pid) - before, "the logger does not come back")
        back = time.monotonic()
        return Kill("logger", at, max(back, self._await_end(lambda mark: mark.at >= at)) - at)

    def kill_vital(self, role: str) -> Kill:
        """SIGKILL what the server cannot be without; recovered when it is ready and a new worker has ended a task."""
        old, known = self._server.runtime().pids[role], self._known()
        at = self._kill(old.pid)
        self._eventually(lambda: self._successor(role, old.pid), f"the {role} does not come back")
        return Kill(role, at, self._await_ready(known) - at)

    def kill_supervisor(self) -> Kill:
        """SIGKILL the supervisor, and with it everything; then start again; recovered like what is vital."""
        known = self._known()
        at = self._server.kill()
        self._server.start()
        return Kill("supervisor", at, self._await_ready(known) - at)

    def _kill_in_queue(self, role: str, queue: str, pid: int) -> Kill:
        known = self._known()
        at = self._kill(pid)
        return Kill(role, at, self._await_end(lambda mark: mark.queue == queue and mark.pid not in known) - at)

    def _is_steady(self, queue: str) -> bool:
        self._log.read()
        worked = {mark.pid for mark in self._log.marks if mark.kind == ENDED}
        shown = self._server.queue(queue)
        workers = {worker["pid"] for worker in shown["workers"]}
        return len(workers) == shown["settings"]["concurrency"] and workers <= worked

    def _known(self) -> set[int]:
        """Return every process there has been: whatever else ends a task was born after the kill."""
        self._log.read()
        return {mark.pid for mark in self._log.marks} | {ident.pid for ident in self._server.members()}

    def _kill(self, pid: int) -> float:
        ident = processes.identify(pid)
        at = time.monotonic()
        if ident is None or not processes.kill(ident):
            raise BenchFailed(f"process {pid} was gone before it could be killed")
        return at

    def _await_ready(self, known: set[int]) -> float:
        ready = self._eventually(self._ready_at, "the server does not get ready")
        return max(ready, self._await_end(lambda mark: mark.pid not in known))

    def _await_end(self, wanted: Callable[[Mark], bool]) -> float:
        """Return when the first task of the wanted kind ended, by its own time."""

        def first() -> float | None:
            return next((mark.at for mark in self._log.read() if mark.kind == ENDED and wanted(mark)), None)

        return self._eventually(first, "no task is run any more")

    def _successor(self, role: str, old_pid: int) -> bool:
        runtime = Runtime.read(self._server.data_dir)
        return runtime is not None and role in runtime.pids and runtime.pids[role].pid != old_pid

    def _ready_at(self) -> float | None:
        try:
            # A connection of its own: it waits in the listening socket until the successor takes it. Without TLS: to
            # read the certificates of all authorities takes 20 ms of the processor time that the successor needs.
            answer = httpx2.get(
                f"{self._server.url}/readyz", timeout=RECOVERED_WITHIN_SECONDS, trust_env=False, verify=False
            )
        except httpx2.HTTPError:
            return None
        return time.monotonic() if answer.is_success else None

    @staticmethod
    def _children(pid: int) -> set[int]:
        return {child.pid for child in psutil.Process(pid).children()}

    @staticmethod
    def _eventually(look: Callable[[], Found | None], otherwise: str) -> Found:
        deadline = time.monotonic() + RECOVERED_WITHIN_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                raise BenchFailed(f"{otherwise} within {RECOVERED_WITHIN_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        return found
