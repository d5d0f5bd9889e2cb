"""Connections to a server whose actors are played: the runtime file, the store and the processes are real."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callboard.actors import connection
from callboard.actors.errors import ServerNotRunning
from callboard.actors.processes import Ident, identify
from callboard.actors.runtime import Runtime, make_private_folder, run_folder
from tests.support.wires import Wire


def living() -> Ident:
    """Return a process that outlives the test: this one."""
    me = identify(os.getpid())
    assert me is not None
    return me


def announce(data_dir: Path, server: Ident, *, number: int = 1) -> Runtime:
    """Write the runtime file of a server that consists of one process."""
    make_private_folder(run_folder(data_dir))
    runtime = Runtime(
        http="http://127.0.0.1:1",
        admin_port=number,
        key_path=str(run_folder(data_dir) / "key"),
        registry="127.0.0.1:1",
        store_url=f"sqlite:///{data_dir / 'callboard.db'}",
        data_dir=str(data_dir),
        pids={"admin": server, "registry": server},
    )
    runtime.write()
    return runtime


class Attached:
    """Has this process's connections end at a wire. number: of the server, in the order in which they were announced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
        self.wire = wire
        self.absent: set[int] = set()
        """Servers that have written their file and can't be attached to."""
        self.attached: list[int] = []
        self.detached = 0
        monkeypatch.setattr(connection, "attach", self._attach)
        monkeypatch.setattr(connection, "detach", self._detach)

    def _attach(self, runtime: Runtime) -> Any:
        self.attached.append(runtime.admin_port)
        if runtime.admin_port in self.absent:
            raise ServerNotRunning("it is not there yet")
        return SimpleNamespace(private=self.wire.endpoint)

    def _detach(self, _: object) -> None:
        self.detached += 1
