"""Reach the server of a data directory from another process of the same machine, and find it again after its death.

LocalClient and the command line stand on this. Requests go as sealed messages to Registry and Queues, reads go straight
to the store.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from typing import Final, Self, TypeVar

import psutil

from callboard.actors.caller import QueueCaller
from callboard.actors.errors import NotPermitted, RequestTimedOut, ServerNotRunning
from callboard.actors.private_endpoint import Endpoint
from callboard.actors.processes import identify, is_alive
from callboard.actors.runtime import LOCK_FILE, Runtime, runtime_path
from callboard.actors.store import Store
from callboard.actors.system import attach, detach, registry_address

DEFAULT_TIMEOUT_SECONDS: Final = 15.0
LOOK_AGAIN_SECONDS: Final = 0.05

_T = TypeVar("_T")


class Connection:
    """A process's connection to one server; thespian allows one at a time, a second one takes the first one's place.

    timeout: seconds after which a request is given up, those included in which the server is being started again.
    Raises `ServerNotRunning` or `NotPermitted`. Threads take turns.
    """

    def __init__(self, data_dir: Path, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._data_dir = data_dir
        self._timeout = timeout
        self._turn = threading.RLock()
        self._attached = ExitStack()
        check_permission(data_dir)
        runtime = self._runtime_within(time.monotonic() + timeout)
        self._attach(runtime)

    @property
    def runtime(self) -> Runtime:
        """Where the server is, and which processes it consists of."""
        return self._runtime

    @cached_property
    def store(self) -> Store:
        """The server's store, to read."""
        # SQLAlchemy takes longer to import than all the rest, and a task can be submitted without it.
        from callboard.actors.store.opening import open_store  # noqa: PLC0415

        return open_store(self._runtime.store_url)

    def ask(self, question: Callable[[QueueCaller, float], _T]) -> tuple[_T, bool]:
        """Ask until there is an answer, of a server that was started anew too if the first one dies.

        question: called with a caller and the seconds that are left. Returns its answer, and whether an earlier server may
        already have done what was asked. Raises what the question raises.
        """
        until = time.monotonic() + self._timeout
        unsure = False
        with self._turn:
            while True:
                try:
                    return question(self._caller, max(0.0, until - time.monotonic())), unsure
                except RequestTimedOut:
                    if not self._attach_again(until):
                        raise
                    unsure = True

    def open_endpoint(self) -> AbstractContextManager[Endpoint]:
        """Open an endpoint to the present server for one thread, beside the requests that take turns."""
        return self._open_endpoint()

    def close(self) -> None:
        """Let go of the server and of its store."""
        with self._turn:
            self._attached.close()
            if "store" in self.__dict__:
                self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _runtime_within(self, until: float) -> Runtime:
        """Return the server's runtime file, waiting for it while a supervisor is bringing a server up."""
        while (runtime := Runtime.read(self._data_dir)) is None:
            if time.monotonic() >= until or not _is_being_started(self._data_dir):
                raise no_server(self._data_dir)
            time.sleep(LOOK_AGAIN_SECONDS)
        return runtime

    def _attach(self, runtime: Runtime) -> None:
        try:
            actor_system = attach(runtime)
        except ServerNotRunning as error:
            raise no_server(self._data_dir) from error
        self._attached.callback(detach, actor_system)
        self._open_endpoint: Callable[[], AbstractContextManager[Endpoint]] = actor_system.private
        self._caller = QueueCaller(
            actor_system.private,
            registry_address(runtime),
            existing=lambda ids: {task.id for task in self.store.get_many(ids)},
            registry_process=runtime.pids.get("registry"),
        )
        self._attached.callback(self._caller.close)
        self._runtime = runtime

    def _attach_again(self, until: float) -> bool:
        """If the server has died, attach to the next one as soon as it is there; tell whether that was so."""
        parts = [self._runtime.pids[name] for name in ("admin", "registry") if name in self._runtime.pids]
        if all(map(is_alive, parts)):
            return False
        self._attached.close()
        while time.monotonic() < until:
            runtime = Runtime.read(self._data_dir)
            if runtime is not None and runtime != self._runtime:
                try:
                    self._attach(runtime)
                except ServerNotRunning:
                    pass  # it is not quite there, or has died again
                else:
                    return True
            time.sleep(LOOK_AGAIN_SECONDS)
        raise no_server(self._data_dir)


def _is_being_started(data_dir: Path) -> bool:
    """Tell whether the supervisor that has last claimed the data directory lives: it writes its pid into the lock file."""
    lock = data_dir / LOCK_FILE
    try:
        supervisor = identify(int(lock.read_text(encoding="ascii")))
        written = lock.stat().st_mtime
        # A stranger who has got this pid since then was started after the file was written.
        return supervisor is not None and psutil.Process(supervisor.pid).create_time() <= written + 1.0
    except (OSError, ValueError, psutil.Error):
        return False


def check_permission(data_dir: Path) -> None:
    """Raise `NotPermitted` for somebody else's data directory: what can't be read must not be taken for absent."""
    try:
        runtime_path(data_dir).stat()
    except PermissionError:
        raise NotPermitted(f"{shown_path(data_dir)} can't be read: do this as the user that the server runs as") from None
    except OSError:
        pass


def no_server(data_dir: Path) -> ServerNotRunning:
    """Return the error that says what to do when nobody serves a data directory."""
    shown = shown_path(data_dir)
    return ServerNotRunning(f"No server is running on {shown}: start one with `callboard serve --data-dir {shown}`")


def shown_path(path: Path) -> str:
    """Write a path so that it is seen to be one: `./var`."""
    text = str(path)
    return text if path.is_absolute() or text.startswith(".") else f"./{text}"
