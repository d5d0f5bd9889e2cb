"""Run the command lines of curl that stand in the seeds' documents."""

import shlex
import socket
import subprocess
from typing import NamedTuple

import pytest


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


def need_port(port: int) -> None:
    """Skip the test when somebody else uses the port that a document's lines name."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            pytest.skip(f"somebody else uses port {port}")
