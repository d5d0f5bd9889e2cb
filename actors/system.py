"""Boot the sealed actor system, attach to one that runs, and shut it down.

Thespian boots a new system wherever it finds none, keeps one per process whatever it was asked for, and belongs to no
parent. Here a system is booted only by `boot`, attaching finds the one that is meant or fails, and the processes of a
system end with their guardian.
"""

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from callboard.actors import processes
from callboard.actors.errors import ServerNotRunning
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from callboard.actors.sealed import create_key, read_key, seal
from callboard.actors.thespian_env import LOOPBACK
from callboard.actors.thespian_fixes import mend_thespian
from callboard.actors.tree_guard import BootFailed, Report, guarded

# isort: split
from thespian.actors import ActorAddress, ActorSystem, ActorSystemException
from thespian.system import systemBase
from thespian.system.multiprocTCPBase import ActorSystemBase
from thespian.system.transport.TCPTransport import TCPTransport

BOOT_ATTEMPTS: Final = 3
BOOT_ANSWER_SECONDS: Final = 10.0
ATTACH_ANSWER_SECONDS: Final = 3.0
EXIT_SECONDS: Final = 0.5
# Thespian's own logger process; our actors write to standard error themselves (see base.py).
LOG_DEFINITIONS: Final[dict[str, Any]] = {
    "version": 1,
    "formatters": {"plain": {"format": "%(levelname)s thespian: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "ERROR"},
}


@dataclass(frozen=True, slots=True)
class Booted:
    """An actor system that this process has booted."""

    actor_system: ActorSystem
    port: int  # the admin's
    key_path: Path
    admin: Ident
    logger: Ident


class _OneTryBase(ActorSystemBase):  # type: ignore[misc]  # as all of thespian
    """Thespian's connection to an admin, which asks it once whether it is there, where thespian tries for 11 s."""

    def __init__(self, port: int, answer_seconds: float) -> None:
        systemBase.MAX_ADMIN_STATUS_REQ_DELAY = timedelta(seconds=answer_seconds)
        # The namespace is all that the base class wants of an ActorSystem.
        try:
            super().__init__(SimpleNamespace(capabilities={"Admin Port": port}), LOG_DEFINITIONS)
        except BaseException:
            if hasattr(self, "transport"):  # it is opened first, and must not outlive the failure
                self.transport.close()
            raise

    def _verifyAdminRunning(self) -> bool:  # noqa: N802  # thespian's name
        if not super()._verifyAdminRunning():
            raise ServerNotRunning("the actor system does not answer")
        return True


class _AttachedBase(_OneTryBase):
    def _startAdmin(self, *_: Any) -> None:  # noqa: N802  # thespian's name
        raise ServerNotRunning("nobody listens where the server should be")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def boot(key_path: Path, *, guardian: int | None = None, leave_behind: Sequence[int] = ()) -> Booted:
    """Boot an actor system that is sealed with a new key, on a free port; raise BootFailed if it does not come up.

    Its processes die with `guardian`, the nearest child subreaper above this process; without one, this process becomes
    that. The descriptors in `leave_behind` are closed in the new processes. To be called before this process has threads.
    """
    if guardian is None:
        guardian = processes.become_subreaper()
    key_path.unlink(missing_ok=True)
    seal(create_key(key_path))
    mend_thespian()
    for _ in range(BOOT_ATTEMPTS):  # somebody else may take the free port before the admin does
        port, report = free_port(), Report()
        try:
            with guarded(guardian, leave_behind, report):
                base = _OneTryBase(port, BOOT_ANSWER_SECONDS)
                found = report.collect("admin", "logger")
        except (ServerNotRunning, BootFailed, ActorSystemException):
            _end_failed(report)
            continue
        finally:
            report.close()
        return Booted(ActorSystem(base, transientUnique=True), port, key_path, found["admin"], found["logger"])
    raise BootFailed("the actor system's admin did not come up")


def _end_failed(report: Report) -> None:
    """End an admin that has started but does not answer."""
    with contextlib.suppress(BootFailed):  # it has not even told its process id
        processes.end_tree(report.collect("admin", within=0.0).values())


def attach(runtime: Runtime) -> ActorSystem:
    """Connect to the server that a runtime file tells of; raise ServerNotRunning, having started nothing, if it's gone.

    The seal is one for the process: to attach to another server ends what was attached before. Give back with `detach`.
    """
    admin = runtime.pids.get("admin")
    if admin is not None and not processes.is_alive(admin):
        raise ServerNotRunning("the server has ended")
    try:
        key = read_key(Path(runtime.key_path))
    except (OSError, ValueError) as error:
        raise ServerNotRunning(f"the server's key cannot be read: {error}") from error
    seal(key)
    mend_thespian()
    try:
        return ActorSystem(_AttachedBase(runtime.admin_port, ATTACH_ANSWER_SECONDS), transientUnique=True)
    except (ActorSystemException, OSError) as error:
        raise ServerNotRunning(f"the server cannot be reached: {error}") from error


def detach(actor_system: ActorSystem) -> None:
    """Close this process's connection to an actor system, which goes on (`ActorSystem.shutdown` would end it for all)."""
    actor_system._systemBase.transport.close()  # noqa: SLF001  # there is no public way


def registry_address(runtime: Runtime) -> ActorAddress:
    """Return the Registry's address as the runtime file has it."""
    return TCPTransport.getAddressFromString(runtime.registry)


def address_text(address: ActorAddress) -> str:
    """Return an actor's address as the runtime file has it: `127.0.0.1:port`."""
    host, port = address.addressDetails.sockname[:2]
    return f"{host}:{port}"


def shut_down(booted: Booted, within: float = 3.0) -> None:
    """End an actor system that this process booted: ask it to, wait `within` seconds, kill what is left."""
    tree = {booted.admin, *processes.descendants(booted.admin)}
    systemBase.MAX_SYSTEM_SHUTDOWN_DELAY = timedelta(seconds=within)  # it would wait 10 s for a busy actor
    base = booted.actor_system._systemBase  # noqa: SLF001  # to close it whatever shutdown did
    with contextlib.suppress(ActorSystemException, OSError):  # whatever is left is ended below
        booted.actor_system.shutdown()
    base.transport.close()
    deadline = time.monotonic() + EXIT_SECONDS
    while any(map(processes.is_alive, tree)) and time.monotonic() < deadline:
        time.sleep(0.005)
    processes.end_tree(tree)
    processes.reap_orphans(among={ident.pid for ident in tree})
    booted.key_path.unlink(missing_ok=True)
