"""Run a server in processes of its own, know all of them, and leave none behind."""

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import psutil

from callboard.actors import processes
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from tests.support import plain_http
from tests.support.polling import eventually

ROOT = Path(__file__).parents[2]


class RunningTree:
    """The tiny tree under the real supervisor, from its ready line on."""

    def __init__(self, data_dir: Path, arguments: Sequence[str] = (), module: str = "tests.support.tiny_tree") -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", module, str(data_dir), *(arguments or ["0"])]
        # Under nohup the tests' own process ignores SIGHUP, and what it starts would, too, as it should in that case.
        heard = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heard,  # noqa: PLW1509 - the tests have no threads that hold anything
        )
        self._seen: set[Ident] = set()

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline().strip()
        self.runtime()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.members()
        self.process.kill()
        processes.end_tree(self._seen)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.output, self.errors = self.process.stdout.read(), self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()
        if error is not None:
            sys.stderr.write(self.errors)

    def outcome(self, within: float = 30.0) -> tuple[int, str, str]:
        """Return exit code, output and errors of one that is expected to end by itself (instead of `with`)."""
        try:
            output, errors = self.process.communicate(timeout=within)
        finally:
            self.members()
            self.process.kill()
            processes.end_tree(self._seen)
        return self.process.returncode, output, errors

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    def runtime(self) -> Runtime:
        """Return the runtime file of a server that lives (its logger may be another one by now), waiting for it."""

        def alive() -> Runtime | None:
            runtime = Runtime.read(self.data_dir)
            if runtime is None:
                return None
            vital = [ident for role, ident in runtime.pids.items() if role != "logger"]
            return runtime if all(map(processes.is_alive, vital)) else None

        found = eventually(alive)
        assert found is not None
        return found

    def members(self) -> set[Ident]:
        """Return all processes of the tree; they are remembered, so that none outlives the test."""
        me = processes.identify(self.pid)
        found = set() if me is None else {me, *processes.descendants(me)}
        self._seen |= found
        return found

    def survivors(self) -> set[Ident]:
        """Return the processes seen earlier that still live."""
        return {ident for ident in self._seen if processes.is_alive(ident)}

    def actors(self) -> list[int]:
        """Ask over HTTP for the pids of the Registry and its two children; empty while there is no answer."""
        try:
            actors: list[int] = plain_http.get(f"{self.runtime().http}/pids", timeout=10).json()["actors"]
        except httpx2.HTTPError:
            return []
        return actors if len(actors) == 3 else []

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the supervisor a signal and return its exit code."""
        self.members()
        os.kill(self.pid, number)
        return self.process.wait(30)

    def listening(self) -> dict[tuple[str, int], str]:
        """Return the addresses on which processes of the tree listen, and the role of one that does."""
        found: dict[tuple[str, int], str] = {}
        for ident in self.members():
            try:
                process = psutil.Process(ident.pid)
                for connection in process.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        found[connection.laddr.ip, connection.laddr.port] = " ".join(process.cmdline())
            except psutil.Error:
                continue
        return found
