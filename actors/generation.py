"""Fork one server and know what becomes of it: what it reports, and whether one of its vital processes has died."""

import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from callboard.actors import processes
from callboard.actors.errors import CallboardError
from callboard.actors.processes import Ident
from callboard.actors.server import RegistryLost, Reporter, Serving, run_server
from callboard.actors.tree_guard import BootFailed

START_SECONDS: Final = 120.0
# How often to look where the kernel can't be asked to wake us (no pidfd), and at deadlines.
LOOK_SECONDS: Final = 1.0
LOOK_SECONDS_WITHOUT_PIDFD: Final = 0.2
FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """What each server is started with."""

    serving: Serving
    listener: socket.socket
    url: str
    guardian: int
    """The process that the actor system's admin dies with."""
    descriptors_of_ours: tuple[int, ...]
    """To be closed in the server."""


class Generation:
    """One run of the server, from fork to death."""

    def __init__(self, launch: Launch) -> None:
        self.ready = False
        self.failure: str | None = None
        """Why it could not come up, in its own words."""
        self.hopeless = False
        """The next one will fail by the same: a wrong setting, a database that can't be read."""
        self.started_at = time.monotonic()
        self._heard_at = self.started_at
        # The server itself judges its Registry by the same time; leave it a beat to do so.
        self._silence_seconds = launch.serving.silence_seconds + launch.serving.beat_seconds
        self._buffer = b""
        self._reports, write = os.pipe()
        os.set_blocking(self._reports, False)
        self.server = _fork_server(replace(launch, descriptors_of_ours=(*launch.descriptors_of_ours, self._reports)), write)
        os.close(write)
        self._roles: dict[str, Ident] = {}
        self._pidfds: dict[int, str] = {}
        self._watch("server", self.server)

    def close(self) -> None:
        """Give back the descriptors."""
        for descriptor in (self._reports, *self._pidfds):
            os.close(descriptor)

    def descriptors(self) -> list[int]:
        """Return what to wait for: each becomes readable when there is something to look at."""
        return [self._reports, *self._pidfds]

    def look_again_within(self) -> float:
        """Return the seconds after which to look even if no descriptor became readable."""
        return LOOK_SECONDS if len(self._pidfds) == len(self._roles) else LOOK_SECONDS_WITHOUT_PIDFD

    def read_reports(self) -> None:
        """Take in what the server has said meanwhile."""
        while True:
            try:
                text = os.read(self._reports, 65536)
            except BlockingIOError:
                return
            if not text:  # the server is dead; its pidfd says so too, and this end would be readable for ever
                return
            self._heard_at = time.monotonic()
            *lines, self._buffer = (self._buffer + text).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        for role, (pid, started) in report.get("pids", {}).items():
            self._watch(role, Ident(pid, started))
        self.ready = self.ready or report.get("ready", False)
        self.failure = report.get("failed", self.failure)
        self.hopeless = report.get("hopeless", self.hopeless)

    def _watch(self, role: str, ident: Ident) -> None:
        self._roles[role] = ident
        try:
            self._pidfds[os.pidfd_open(ident.pid)] = role
        except (AttributeError, OSError):
            return  # not Linux, or dead already: `dead` asks for it by id and start time

    def dead(self) -> str | None:
        """Return which of the vital processes has died or hangs, in words, or None."""
        now = time.monotonic()
        for role, ident in self._roles.items():
            if not processes.is_alive(ident):
                return f"the {role} has ended"
        if self.ready and now - self._heard_at > self._silence_seconds:
            return "the server hangs"
        if not self.ready and now - self.started_at > START_SECONDS:
            return "the server does not come up"
        return None

    def server_is_alive(self) -> bool:
        """Return whether the server process itself still runs."""
        return processes.is_alive(self.server)

    def tell_server_to_stop(self) -> None:
        """Send the server SIGTERM."""
        if self.server_is_alive():
            os.kill(self.server.pid, signal.SIGTERM)  # our child: it keeps its id until we reap it

    def end(self) -> None:
        """SIGKILL all that is left of this generation and of its orphans, and reap it."""
        processes.end_tree(self._roles.values())
        left_over = processes.end_orphans(known=frozenset())
        if left_over:
            log.error("these processes could not be ended: %s", sorted(left_over))
        self.close()


def _fork_server(launch: Launch, write: int) -> Ident:
    """Fork the server from this process, in which everything is imported: a restart takes milliseconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # keeps the collector from touching, and so copying, what is shared with the children
    supervisor = os.getpid()
    # A signal that came between the fork and the first line below would be lost in the supervisor's handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    pid = os.fork()
    if pid == 0:
        _be_the_server(launch, supervisor, write)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    ident = processes.identify(pid)
    assert ident is not None, "a child that nobody has reaped has an id"
    return ident


def _be_the_server(launch: Launch, supervisor: int, write: int) -> None:
    """Run the server and end the process: nothing of the supervisor's own may happen in it afterwards."""
    status = 1
    reporter = Reporter(write)
    try:
        signal.set_wakeup_fd(-1)
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        processes.die_with_parent(supervisor)
        for descriptor in launch.descriptors_of_ours:
            os.close(descriptor)
        run_server(launch.serving, launch.listener, launch.url, launch.guardian, reporter)
        status = 0
    except (BootFailed, RegistryLost) as error:
        reporter.tell(failed=str(error))
    except CallboardError as error:
        reporter.tell(failed=str(error), hopeless=True)
    except BaseException as error:
        log.exception("the server failed")
        reporter.tell(failed=f"the server failed: {error!r}", hopeless=True)
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait_readable(descriptors: list[int], seconds: float) -> None:
    """Wait until one of these can be read, for so long at most."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    poller.poll(max(0.0, seconds) * 1000)
