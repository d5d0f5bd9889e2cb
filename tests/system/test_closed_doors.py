"""Nobody without the key can have anything run, end an actor, or read what is on disk."""

import os
import pickle
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import processes
from callboard.actors.sealed import Seal
from callboard.actors.thespian_env import LOOPBACK
from tests.support.polling import eventually
from tests.support.running import RunningTree

# isort: split
from thespian.actors import ActorExitRequest


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def framed(payload: bytes) -> bytes:
    return b"%d>" % len(payload) + payload


def frames(witness: Path) -> list[bytes]:
    hostile = pickle.dumps(Hostile(f"touch {witness}"))
    return [
        framed(hostile),
        framed(b"\0" * 32 + hostile),  # where the seal would be
        framed(pickle.dumps((None, ActorExitRequest()))),
        hostile,
        b"-5>" + hostile,  # thespian's own buffer would end the actor by this one
        b"0>",
        b"99999999999999999999>" + hostile,
        b"1" * 4000,  # a header without end
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"300000000>" + b"x" * 4096,  # announces what must not be waited for
    ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTree]:
    with RunningTree(tmp_path_factory.mktemp("closed") / "data") as tree:
        yield tree


def send(address: tuple[str, int], frame: bytes) -> bytes:
    """Send a frame and return what comes back before the other side closes or falls silent."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.settimeout(0.2)
        try:
            connection.sendall(frame)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4096)
        except OSError:
            return b""


def test_every_socket_is_bound_to_loopback(tree: RunningTree) -> None:
    eventually(tree.actors)
    listening = tree.listening()
    # HTTP, the admin, its logger, the Registry, its two children, and the server's own endpoints.
    assert len(listening) >= 7
    assert {host for host, _ in listening} == {LOOPBACK}


def test_a_hostile_frame_to_any_port_runs_nothing_and_ends_nobody(tree: RunningTree, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    actors = eventually(tree.actors)
    before = tree.members()
    for address in tree.listening():
        for frame in frames(witness):
            send(address, frame)
    assert not witness.exists()
    assert eventually(tree.actors) == actors
    assert {ident for ident in before if not processes.is_alive(ident)} == set()
    # The door is still a door: a command sent this way does run where a frame is believed.
    pickle.loads(pickle.dumps(Hostile(f"touch {witness}")))
    assert witness.exists()


def test_a_frame_sealed_with_another_key_is_refused(tree: RunningTree, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    actors = eventually(tree.actors)
    frame = framed(Seal(bytes(32)).dumps((None, Hostile(f"touch {witness}"))))
    for address in tree.listening():
        send(address, frame)
    assert not witness.exists()
    assert eventually(tree.actors) == actors


def test_all_files_of_the_data_directory_are_private(tree: RunningTree) -> None:
    eventually(tree.actors)
    paths = [tree.data_dir, *tree.data_dir.rglob("*")]
    assert {path.name for path in paths} >= {"data", "run", "lock", "key", "runtime.json"}
    assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
