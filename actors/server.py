"""Be the server: boot the actor system, start the Registry, answer HTTP until told to stop.

It runs under the supervisor. Whatever happens to it or to its actors, the supervisor ends what is left and starts
another one, so nothing here tries to repair anything.
"""

import contextlib
import gc
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from callboard.actors import processes
from callboard.actors.asking import ask
from callboard.actors.errors import CallboardError
from callboard.actors.http_server import DRAIN_SECONDS, answer_http
from callboard.actors.messages import Ping, Refused, RegistryReady, ShutDown, ShutDownDone, StartRegistry
from callboard.actors.processes import Ident
from callboard.actors.runtime import KEY_FILE, Runtime, run_folder, runtime_path
from callboard.actors.server_reports import Reporter
from callboard.actors.silence import Silence
from callboard.actors.system import Booted, address_text, boot, shut_down

# isort: split
from thespian.actors import ActorAddress, ActorSystem

PINGS_PER_SILENCE: Final = 5
MEETING_SECONDS: Final = 30.0
REGISTRY_START_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class ServerFailed(CallboardError):
    """The server cannot come up; the text says why, for people."""


class RegistryLost(CallboardError):
    """The Registry died or fell silent while it was started; another try may do better."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the HTTP application gets to work with."""

    actor_system: ActorSystem
    """Use `private()` endpoints: one endpoint that several threads share gets answers mixed up."""
    registry: ActorAddress
    runtime: Runtime
    settings: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What to serve and how; handed from the command line through the supervisor to the server by fork."""

    data_dir: Path
    host: str
    port: int
    store_url: str = field(repr=False)  # it may hold a password
    grace_seconds: float
    silence_seconds: float = 10.0
    """A Registry (or an event loop) that shows no sign of life for so long is killed."""
    registry_class: type
    make_app: Callable[[ServerContext], Any]
    """Return the ASGI application."""
    settings: Any = field(default=None, repr=False)
    """Handed to `make_app` as they are."""
    registry_settings: dict[str, Any] = field(default_factory=dict)
    """Sent to the Registry: the settings in JSON form."""

    @property
    def beat_seconds(self) -> float:
        """How often a sign of life is asked for and given."""
        return self.silence_seconds / PINGS_PER_SILENCE


def run_server(
    serving: Serving, listener: socket.socket, url: str, reporter: Reporter, *, supervisor: Ident, guardian: int
) -> None:
    """Serve until SIGTERM; raise ServerFailed or RegistryLost if that can't begin.

    `guardian` is the process that the actor system's admin dies with: the nearest child subreaper above.
    """
    os.setsid()  # the terminal's Ctrl-C is for the supervisor alone
    gc.set_threshold(50_000, 20, 100)  # what requests make goes without the collector; the default costs some per cent
    key_path = run_folder(serving.data_dir) / KEY_FILE
    booted = boot(key_path, guardian=guardian, leave_behind=(listener.fileno(), reporter.descriptor))
    reporter.tell(pids={"admin": booted.admin})
    registry = booted.actor_system.createActor(serving.registry_class)
    registry_ident = _meet_registry(booted, registry)
    reporter.tell(pids={"registry": registry_ident})
    runtime = _runtime(serving, url, booted, registry, supervisor=supervisor, registry_ident=registry_ident)
    _start_registry(serving, booted, registry, registry_ident, runtime)
    runtime.write()
    app = serving.make_app(ServerContext(booted.actor_system, registry, runtime, serving.settings))
    with _registry_watched(serving, booted.actor_system, registry, registry_ident):
        if not answer_http(app, listener, reporter, serving.beat_seconds):
            raise ServerFailed("the HTTP application did not start")
        _stop_registry(serving, booted, registry, registry_ident)
    runtime_path(serving.data_dir).unlink(missing_ok=True)
    shut_down(booted)


def _request_id() -> str:
    return uuid.uuid4().hex


def _meet_registry(booted: Booted, registry: ActorAddress) -> Ident:
    reply = ask(booted.actor_system, registry, Ping(_request_id()), MEETING_SECONDS)
    ident = None if reply is None else processes.identify(reply.pid)
    if ident is None:
        raise RegistryLost("the Registry did not come up")
    return ident


def _runtime(
    serving: Serving, url: str, booted: Booted, registry: ActorAddress, *, supervisor: Ident, registry_ident: Ident
) -> Runtime:
    pids = {"supervisor": supervisor, "admin": booted.admin, "logger": booted.logger, "registry": registry_ident}
    for role, pid in (("undertaker", os.getppid()), ("server", os.getpid())):
        if (ident := processes.identify(pid)) is not None:
            pids[role] = ident
    return Runtime(
        http=url,
        admin_port=booted.port,
        key_path=str(booted.key_path.absolute()),
        registry=address_text(registry),
        store_url=serving.store_url,
        data_dir=str(serving.data_dir.absolute()),
        pids=pids,
    )


def _start_registry(serving: Serving, booted: Booted, registry: ActorAddress, ident: Ident, runtime: Runtime) -> None:
    request = StartRegistry(_request_id(), serving.registry_settings, runtime.data_dir, serving.store_url, runtime.boot_id)
    reply = ask(booted.actor_system, registry, request, REGISTRY_START_SECONDS, lambda: processes.is_alive(ident))
    if isinstance(reply, Refused):
        raise ServerFailed(reply.detail)
    if not isinstance(reply, RegistryReady):
        raise RegistryLost("the Registry did not get ready")


def _stop_registry(serving: Serving, booted: Booted, registry: ActorAddress, ident: Ident) -> None:
    request = ShutDown(_request_id(), serving.grace_seconds)
    # The Registry needs a moment beyond the grace to have the rest given back; the supervisor allows for it.
    within = serving.grace_seconds + DRAIN_SECONDS
    reply = ask(booted.actor_system, registry, request, within, lambda: processes.is_alive(ident))
    if not isinstance(reply, ShutDownDone):
        log.warning("the Registry did not say that all queues have stopped")
    elif reply.interrupted:
        log.warning("%d tasks were still running after the grace and go back", reply.interrupted)


@contextlib.contextmanager
def _registry_watched(serving: Serving, actor_system: ActorSystem, registry: ActorAddress, ident: Ident) -> Iterator[None]:
    """Ping the Registry from a thread, and SIGKILL it when it has been silent for too long: the supervisor starts over."""
    stopping = threading.Event()

    def watch() -> None:
        beat = serving.beat_seconds
        silence = Silence(time.monotonic(), bearable=serving.silence_seconds, look_within=2 * beat)
        with actor_system.private() as endpoint:
            while not stopping.wait(beat):
                reply = ask(endpoint, registry, Ping(_request_id()), beat, lambda: not stopping.is_set())
                now = time.monotonic()
                if reply is not None:
                    silence.heard(now)
                if silence.is_too_long(now) and not stopping.is_set():
                    log.error("the Registry has not answered for %.0f s and is killed", silence.lasts(now))
                    processes.kill(ident)
                    return

    watcher = threading.Thread(target=watch, name="registry-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopping.set()
        watcher.join(serving.beat_seconds)
