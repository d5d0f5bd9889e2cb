"""Serve: hold the data directory and the listening socket, run the server, start it over whenever anything vital dies.

A supervisor has no threads and does next to nothing, so there is next to nothing in it that could fail. Nothing of its
tree outlives it: see undertaker.py.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from callboard.actors import processes
from callboard.actors.data_directory import claim
from callboard.actors.errors import CallboardError
from callboard.actors.generation import Generation, Launch, wait_readable
from callboard.actors.restarts import Restarts
from callboard.actors.roomy_stack import in_roomy_stack
from callboard.actors.runtime import runtime_path
from callboard.actors.server import Serving

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What the server needs beyond the grace: answers under way, having tasks given back, the actor system's end.
STOP_MARGIN_SECONDS: Final = 12.0
FIRST_STARTS: Final = 5
BACKLOG: Final = 2048
PRIVATE_UMASK: Final = 0o077

log = logging.getLogger(__name__)


class CannotListen(CallboardError):
    """The address to serve on cannot be had."""


def supervise(serving: Serving) -> int:
    """Serve until told to stop, and return the exit code: 0 after a stop, 1 if it could not begin (said in one line)."""
    os.umask(PRIVATE_UMASK)
    try:
        lock = claim(serving.data_dir)
        try:
            with listen(serving.host, serving.port) as listener:
                return in_roomy_stack(_Supervisor(serving, listener).run)
        finally:
            os.close(lock)
    except CallboardError as error:
        print(f"callboard: {error}", file=sys.stderr)  # noqa: T201  # the message for whoever typed the command
        return 1


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; raise CannotListen, in words for people, if that can't be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotListen(f"cannot listen on {host} port {port}: {reason}") from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """Return the address for people and clients; with port 0 it has the one that the kernel chose."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


class _Supervisor:
    def __init__(self, serving: Serving, listener: socket.socket) -> None:
        self._serving = serving
        self._listener = listener
        self._url = url_of(listener, serving.host)
        self._restarts = Restarts()
        self._was_ready = False
        self._stop_signals = 0

    def run(self) -> int:
        processes.become_subreaper()  # should the undertaker die, all it had comes here
        me = processes.identify(os.getpid())
        assert me is not None, "who asks is there"
        with _signals_to_pipe() as (signals, written_by_handlers):
            launch = Launch(self._serving, self._listener, self._url, me, (signals, written_by_handlers))
            while True:
                generation = Generation(launch)
                try:
                    reason = self._watch(generation, signals)
                    if self._told_to_stop():
                        return self._stop(generation, signals)
                finally:
                    generation.end()
                    runtime_path(self._serving.data_dir).unlink(missing_ok=True)
                self._give_up_if_it_never_worked(generation, reason)
                self._pause(generation, reason, signals)
                if self._told_to_stop():
                    return 0

    def _watch(self, generation: Generation, signals: int) -> str:
        """Wait for a death or a signal; return which of the processes died."""
        while True:
            wait_readable([signals, *generation.descriptors()], generation.look_again_within())
            self._take_signals(signals)
            generation.read_reports()
            if generation.ready and not self._was_ready:
                self._was_ready = True
                self._announce()
            if self._told_to_stop():
                return "told to stop"
            if (reason := generation.dead()) is not None:
                return reason
            processes.reap_all_but(generation.undertaker.pid)  # orphans of the tree: nobody else will

    def _give_up_if_it_never_worked(self, generation: Generation, reason: str) -> None:
        """Raise what keeps the first start from succeeding; what has worked once is tried for ever."""
        out_of_patience = self._restarts.in_a_row >= FIRST_STARTS - 1
        if not self._was_ready and (generation.hopeless or out_of_patience):
            raise CallboardError(generation.failure or reason)

    def _announce(self) -> None:
        with contextlib.suppress(OSError):  # nobody may be reading any more
            print(  # noqa: T201  # the one line that the command prints
                f"Callboard is ready on {self._url} (data in {self._serving.data_dir})", flush=True
            )

    def _stop(self, generation: Generation, signals: int) -> int:
        """Let the server end within its grace; a second signal, or time running out, ends it at once."""
        generation.tell_server_to_stop()
        # Else the kernel would go on accepting connections for the whole grace, which nobody will ever answer.
        self._listener.close()
        deadline = time.monotonic() + self._serving.grace_seconds + STOP_MARGIN_SECONDS
        while generation.server_is_alive():
            remaining = deadline - time.monotonic()
            if self._stop_signals > 1 or remaining <= 0:
                log.warning("ending the server at once; what its tasks have done is lost, they will run again")
                return 1
            wait_readable([signals, *generation.server_descriptors()], min(remaining, generation.look_again_within()))
            self._take_signals(signals)
        return 0

    def _pause(self, generation: Generation, reason: str, signals: int) -> None:
        delay = self._restarts.delay_after(time.monotonic() - generation.started_at)
        detail = f" ({generation.failure})" if generation.failure else ""
        log.warning("%s%s; starting over in %.1f s", reason, detail, delay)
        until = time.monotonic() + delay
        while not self._told_to_stop() and (remaining := until - time.monotonic()) > 0:
            wait_readable([signals], remaining)
            self._take_signals(signals)

    def _told_to_stop(self) -> bool:
        return self._stop_signals > 0

    def _take_signals(self, signals: int) -> None:
        with contextlib.suppress(BlockingIOError):  # all are read
            while numbers := os.read(signals, 512):
                self._stop_signals += sum(number in STOP_SIGNALS for number in numbers)


@contextlib.contextmanager
def _signals_to_pipe() -> Iterator[tuple[int, int]]:
    """Turn signals into bytes on a pipe, so that waiting for them can't miss one; yield its reading and writing ends."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)

    def woken_by_the_pipe(_number: int, _frame: FrameType | None) -> None:
        """Do nothing: a handler of Python's own is needed for the byte to be written."""

    wanted = (*STOP_SIGNALS, signal.SIGCHLD)
    # What was set to be ignored (SIGHUP under nohup) stays ignored.
    before = {number: signal.getsignal(number) for number in wanted if signal.getsignal(number) != signal.SIG_IGN}
    previous = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in before:
        signal.signal(number, woken_by_the_pipe)
    try:
        yield read, write
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous)
        os.close(read)
        os.close(write)
