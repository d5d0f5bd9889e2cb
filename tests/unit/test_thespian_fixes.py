"""What is mended in thespian, on a transport without a network."""

import socket
from types import SimpleNamespace

from callboard.actors.thespian_fixes import mend_thespian

# isort: split
from thespian.system.transport.TCPTransport import TCPTransport


class Transport(TCPTransport):  # type: ignore[misc]
    """Has only what a test gives it, as one that could not come up has."""

    def __init__(self, **has: object) -> None:
        self.__dict__.update(has)


def test_all_kept_connections_are_closed_but_for_those_that_are_closed_already() -> None:
    mend_thespian()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Transport(_openSockets={"gone": SimpleNamespace(socket=None), "kept": SimpleNamespace(socket=ours)})
        transport.close()
        transport.close()
        assert ours.fileno() == -1
        assert theirs.recv(1) == b""


def test_a_transport_that_has_never_come_up_is_closed_as_well() -> None:
    mend_thespian()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Transport(socket=ours).close()
        assert theirs.recv(1) == b""
