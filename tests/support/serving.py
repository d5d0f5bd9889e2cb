"""Run `callboard serve`, and type commands to it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from callboard.actors.cli.running import run
from tests.support.running import ROOT, RunningTree

CALLBOARD = [sys.executable, "-m", "callboard.actors.cli"]


@dataclass(frozen=True)
class Typed:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def callboard(*arguments: str, data_dir: Path | None = None, stdin: str = "", cwd: Path = ROOT) -> Typed:
    """Type a command into a process of its own."""
    environment = dict(os.environ) | ({"CALLBOARD_DATA_DIR": str(data_dir)} if data_dir else {})
    done = subprocess.run(
        [*CALLBOARD, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=50,
        check=False,
    )
    return Typed(done.returncode, done.stdout, done.stderr)


def typed_here(*arguments: str, stdin: str | io.StringIO = "") -> Typed:
    """Run a command in this process: twenty times faster than in one of its own, which mostly imports."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(stdin) if isinstance(stdin, str) else stdin
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments)
    finally:
        sys.stdin = before
    return Typed(code, out.getvalue(), err.getvalue())


class Server(RunningTree):
    """A whole Callboard from its ready line on; its log goes to a file beside the data directory."""

    def __init__(self, data_dir: Path, arguments: Sequence[str] = ("--port", "0")) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        command = [*CALLBOARD, "serve", "--data-dir", str(data_dir), *arguments]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        self._seen = set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.stderr = open(os.devnull)  # noqa: PTH123, SIM115 - the base class reads and closes it
        super().__exit__(kind, error, trace)
        if error is not None:
            sys.stderr.write(self.log.read_text())

    def type(self, *arguments: str, stdin: str | io.StringIO = "") -> Typed:
        """Type a command to this server."""
        return typed_here(*arguments, "--data-dir", str(self.data_dir), stdin=stdin)

    def queue(self, name: str) -> dict[str, Any]:
        """Return what `callboard queues` says of one queue."""
        return next(queue for queue in self.type("queues", "--json").json if queue["name"] == name)

    def kill(self, role: str) -> None:
        """Kill one of the processes that the runtime file names."""
        os.kill(self.runtime().pids[role].pid, signal.SIGKILL)
