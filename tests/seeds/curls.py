"""Run the command lines of curl that stand in the seeds' documents."""

import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pytest

from tests.support.polling import eventually


class Answered(NamedTuple):
    """What a server has answered."""

    status: int
    text: str


def run_curl(line: str, port: int | None = None, *, of: int = 4000) -> Answered:
    """Run a line as it stands, or with another port than the document's."""
    line = line.strip().replace("\\\n", "")
    if port is not None:
        line = line.replace(f"localhost:{of}", f"localhost:{port}")
    command = [*shlex.split(line), "--silent", "--show-error", "--write-out", "\n%{http_code}"]
    text, _, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return Answered(int(status), text)


@contextmanager
def seeds_port(port: int) -> Iterator[None]:
    """Have the port that a document's lines name for the block; skip the test when it is used by somebody else.

    For other tests that need it, it waits: its holder among them is who has the UDP port of the same number.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as turn, socket.socket() as probe:

        def take() -> bool:
            with suppress(OSError):
                turn.bind(("127.0.0.1", port))
                return True
            return False

        eventually(take, within=40)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            pytest.skip(f"somebody else uses port {port}")
        yield
