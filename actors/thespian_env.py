"""Prepare the surroundings in which thespian is imported; import this before anything of thespian.

Thespian reads its environment and looks up this machine's addresses while it is imported, and it replaces logging's root
in every process it starts. So all of this happens once, here, at import.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# What logging looked like before any actor system was booted: actors bring it back (see base.py).
LOGGING_ROOT: Final = logging.root
LOGGING_MANAGER: Final = logging.Logger.manager

ENVIRONMENT: Final = {
    # The address that actors are known by, and the one that keeps thespian from asking 8.8.8.8 for a route.
    "THESPIAN_BASE_IPADDR": LOOPBACK,
    # With the default, 20, an actor with 20 unacknowledged messages to busy receivers falls silent towards everyone.
    "THESPIAN_MAX_PENDING_TRANSMITS": "5000",
}


@contextmanager
def _nameless_host() -> Iterator[None]:
    """Answer the questions for this machine's name, whose look-up can hang for many seconds without a network."""
    gethostname, getfqdn = socket.gethostname, socket.getfqdn
    socket.gethostname, socket.getfqdn = (lambda: LOOPBACK), (lambda name="": name or LOOPBACK)
    try:
        yield
    finally:
        socket.gethostname, socket.getfqdn = gethostname, getfqdn


os.environ.update(ENVIRONMENT)
with _nameless_host():
    import thespian.system.transport.IPBase
    import thespian.system.utilis

# Without this thespian appends to /tmp/thespian.log, a name that any user of the machine can occupy first.
thespian.system.utilis.thesplog_control(logging.ERROR, useLogging=False, tmpFileMaxSize=0)
