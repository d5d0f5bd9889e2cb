"""Mend what in thespian 4.0.1 would leave sockets open or end processes; applied by whoever boots or attaches.

Each fix stands beside the fault that it mends, and each has a test that fails without it.
"""

from typing import Any, Final

import callboard.actors.thespian_env  # noqa: F401  # before anything of thespian

# isort: split
from thespian.system.multiprocCommon import MultiProcReplicator
from thespian.system.transport import ReceiveEnvelope, TCPTransport, TransmitIntent

_CLOSE_TRANSPORT: Final = TCPTransport.TCPTransport.close


def mend_thespian() -> None:
    """Apply all fixes in this process, and so in all that it forks; doing it again changes nothing."""
    transport = TCPTransport.TCPTransport
    # Its own one compares the class socket.error with isinstance, so it never closes anything.
    transport._safeSocketShutdown = staticmethod(TCPTransport._safeSocketShutdown)  # noqa: SLF001  # no public way
    transport.close = _close_with_idle_sockets
    # The admin that sees its logger dead asks itself for `logDefs`, but has `logdefs`, and dies of that.
    MultiProcReplicator.logDefs = property(lambda admin: admin.logdefs)
    # It writes each message out several times for a log that is off; with hundreds of tasks in one that is a tenth of a
    # Queue's time.
    TransmitIntent.identify = ReceiveEnvelope.identify = _name_message


def _close_with_idle_sockets(transport: Any) -> None:
    """Close the connections that are kept for the next message or still sending, too, then the rest as before."""
    kept = [*getattr(transport, "_openSockets", {}).values(), *getattr(transport, "_transmitIntents", {}).values()]
    for holder in kept:
        if (connection := getattr(holder, "socket", None)) is not None:
            connection.close()
    if hasattr(transport, "_openSockets"):
        transport._openSockets = {}  # noqa: SLF001  # thespian's own
    _CLOSE_TRANSPORT(transport)


def _name_message(carrier: Any) -> str:
    return type(carrier.message).__name__
