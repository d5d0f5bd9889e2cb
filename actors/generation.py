"""Start one server and know what becomes of it: what it reports, and whether one of its vital processes has died."""

import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Never

from callboard.actors import processes
from callboard.actors.errors import CallboardError
from callboard.actors.processes import Ident
from callboard.actors.server import RegistryLost, Serving, run_server
from callboard.actors.server_reports import Reporter
from callboard.actors.silence import Silence
from callboard.actors.tree_guard import BootFailed
from callboard.actors.undertaker import SIGNALS_OF_THE_SUPERVISOR, Born, fork_with_undertaker

START_SECONDS: Final = 120.0
# How often to look where the kernel can't be asked to wake us (no pidfd), and at deadlines.
LOOK_SECONDS: Final = 1.0
LOOK_SECONDS_WITHOUT_PIDFD: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """What each server is started with."""

    serving: Serving
    listener: socket.socket
    url: str
    supervisor: Ident
    descriptors_of_ours: tuple[int, ...]
    """The supervisor's own, to be closed in the server."""


class Generation:
    """One run of the server, from fork to death."""

    def __init__(self, launch: Launch) -> None:
        self.ready = False
        self.failure: str | None = None
        """Why it could not come up, in its own words."""
        self.hopeless = False
        """The next one will fail by the same: a wrong setting, a database that can't be read."""
        self.started_at = time.monotonic()
        # The server itself judges its Registry by the same time; leave it a beat to do so.
        bearable = launch.serving.silence_seconds + launch.serving.beat_seconds
        self._silence = Silence(self.started_at, bearable=bearable, look_within=LOOK_SECONDS)
        self._buffer = b""
        self._reports, write = os.pipe()
        os.set_blocking(self._reports, False)
        born = _fork_server(launch, self._reports, write)
        os.close(write)
        self.server, self.undertaker = born.server, born.undertaker
        self._roles: dict[str, Ident] = {}
        self._pidfds: dict[int, str] = {}
        self._watch("server", self.server)
        self._watch("undertaker", self.undertaker)

    def close(self) -> None:
        """Give back the descriptors."""
        for descriptor in (self._reports, *self._pidfds):
            os.close(descriptor)

    def descriptors(self) -> list[int]:
        """Return what to wait for: each becomes readable when there is something to look at."""
        return [self._reports, *self._pidfds]

    def server_descriptors(self) -> list[int]:
        """Return what to wait for when only the server's end matters."""
        return [descriptor for descriptor, role in self._pidfds.items() if role == "server"]

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
            self._silence.heard(time.monotonic())
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
        """Return which of the vital processes has died or hangs, in words, or None; to be asked after every wait."""
        now = time.monotonic()
        hangs = self._silence.is_too_long(now)
        for role, ident in self._roles.items():
            if not processes.is_alive(ident):
                return f"the {role} has ended"
        if self.ready and hangs:
            return "the server hangs"
        if not self.ready and now - self.started_at > START_SECONDS:
            return "the server does not come up"
        return None

    def server_is_alive(self) -> bool:
        """Return whether the server process itself still runs."""
        return processes.is_alive(self.server)

    def tell_server_to_stop(self) -> None:
        """Send the server SIGTERM."""
        processes.kill(self.server, signal.SIGTERM)

    def end(self) -> None:
        """SIGKILL all that is left of this generation and of its orphans, and reap it."""
        processes.end_tree(self._roles.values())
        left_over = processes.end_orphans(known=frozenset())
        if left_over:
            log.error("these processes could not be ended: %s", sorted(left_over))
        self.close()


def _fork_server(launch: Launch, read: int, write: int) -> Born:
    """Fork the server from this process, in which everything is imported: a restart takes milliseconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # keeps the collector from touching, and so copying, what is shared with the children
    ours = (*launch.descriptors_of_ours, read)
    return fork_with_undertaker(partial(_be_the_server, launch, ours, write), (launch.listener.fileno(), write, *ours))


def _be_the_server(launch: Launch, to_close: tuple[int, ...], write: int, guardian: int) -> Never:
    """Run the server and end the process: nothing of the supervisor's own may happen in it afterwards."""
    status = 1
    reporter = Reporter(write)
    try:
        processes.die_with_parent()
        for number in SIGNALS_OF_THE_SUPERVISOR:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_THE_SUPERVISOR)
        for descriptor in to_close:
            os.close(descriptor)
        run_server(launch.serving, launch.listener, launch.url, reporter, supervisor=launch.supervisor, guardian=guardian)
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
