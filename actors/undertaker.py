"""Stand between the supervisor and its server, so that nothing of the tree survives the supervisor.

Our own processes die with their parents, but the programs that tasks have started know nothing of that, and whatever has
lost its parent goes to the nearest child subreaper above. That is the undertaker: a session, a double fork or a closed
descriptor hides nobody from it. While the supervisor lives it sleeps; when the supervisor is gone, it kills whatever it has
got and ends. It is part of the tree itself: if it dies, the supervisor ends the rest and starts over.
"""

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Never

from callboard.actors import processes
from callboard.actors.processes import Ident

SIGNALS_OF_THE_SUPERVISOR: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
BURIAL_SECONDS: Final = 60.0
LOOK_SECONDS_WITHOUT_PIDFD: Final = 0.2

log = logging.getLogger(__name__)


class Born(NamedTuple):
    """The two processes that a supervisor's fork has made."""

    undertaker: Ident
    server: Ident
    """It never lives if the undertaker has died before it could fork."""


def fork_with_undertaker(be_the_server: Callable[[int], Never], leave_behind: Sequence[int]) -> Born:
    """Fork an undertaker and have it fork the server, which runs `be_the_server(guardian)`.

    guardian: the process that inherits the orphans of the server's tree. The descriptors in `leave_behind` are closed in the
    undertaker, not in the server. The data directory's lock stays open in both: as long as anything is to be killed, no
    other server may start. In the server the supervisor's signals are blocked; it is to unblock them once it handles them.
    """
    supervisor = os.getpid()
    read, write = os.pipe()
    # A signal that came between the fork and the child's first line would be lost in the supervisor's handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_OF_THE_SUPERVISOR)
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _be_the_undertaker(supervisor, write, be_the_server, leave_behind)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_THE_SUPERVISOR)
    os.close(write)
    try:
        server = int(os.read(read, 32) or b"0")  # nothing, if the undertaker is dead
    finally:
        os.close(read)
    undertaker = processes.identify(pid)
    assert undertaker is not None, "a child that nobody has reaped has an id"
    return Born(undertaker, processes.identify(server) or Ident(server, 0.0))


def _be_the_undertaker(
    supervisor: int, told: int, be_the_server: Callable[[int], Never], leave_behind: Sequence[int]
) -> Never:
    """Fork the server, tell its id, wait for the supervisor's end, kill all that is left, and end the process."""
    try:
        os.setsid()  # what is sent to the supervisor's group, a kill -9 too, is not for the undertaker
        signal.set_wakeup_fd(-1)
        for number in SIGNALS_OF_THE_SUPERVISOR:
            # An ignored SIGCHLD has the kernel reap every orphan without waking anybody.
            signal.signal(number, signal.SIG_IGN)
        guardian = processes.become_subreaper()
        server = os.fork()
        if server == 0:
            os.close(told)
            be_the_server(guardian)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_THE_SUPERVISOR)
        os.write(told, b"%d" % server)
        for descriptor in (told, *leave_behind):
            os.close(descriptor)
        _wait_for_end_of_parent(supervisor)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # see `end_orphans`
        if left := processes.end_orphans(known=frozenset(), within=BURIAL_SECONDS):
            log.error("the supervisor is dead, and these processes could not be ended: %s", sorted(left))
    except BaseException:
        log.exception("the undertaker failed")
    finally:
        os._exit(0)


def _wait_for_end_of_parent(parent: int) -> None:
    try:
        pidfd = os.pidfd_open(parent)
    except AttributeError:  # not Linux
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS_WITHOUT_PIDFD)
        return
    except OSError:  # it has ended already
        return
    if os.getppid() == parent:  # else its id, and with it the descriptor, may be a stranger's
        select.select([pidfd], [], [])
