"""Workers that can't start: the queue says why, tries again with more and more patience, and loses no task."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.task import Task
from tests.support.ledger import PATH as FINE
from tests.support.polling import eventually
from tests.support.server import Server

STARTS = 4
PATIENCE = (0.0, 0.2, 0.5)
"""Seconds that a queue waits at least after each failure."""


@dataclass(frozen=True)
class Broken:
    """How a module's workers fail, by the code that it holds, and what the queue says of it."""

    code: str
    why: str


CLASS = "class Tasks:\n    def __init__(self):\n        {}\n    def perform(self, task):\n        pass\n"
BROKEN = {
    "unimportable": Broken("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    "misspelt": Broken("class Task: pass", "module 'misspelt' has no 'Tasks'"),
    "raising": Broken(CLASS.format("raise RuntimeError('no database today')"), "RuntimeError: no database today"),
    "hanging": Broken(CLASS.format("time.sleep(600)"), "not ready within the queue's start_timeout"),
    "exiting": Broken("os._exit(3)", "they die at once (exit 3)"),
    "crashing": Broken("os.abort()", "they die at once (exit SIGABRT)"),
}
MENDED = CLASS.format("pass")


class Modules:
    """The folder from which the server's workers import; every import is noted with its time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()

    def write(self, name: str, code: str) -> None:
        note = f"with open({str(self.folder / name)!r}, 'a') as file:\n    file.write(f'{{time.monotonic()}}\\n')\n"
        # In one step: a worker may be importing it just now.
        written = self.folder / f"{name}.new"
        written.write_text(f"import os, time\n{note}{code}\n")
        written.rename(self.folder / f"{name}.py")

    def starts(self, name: str) -> list[float]:
        path = self.folder / name
        return [float(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Modules:
    modules = Modules(tmp_path_factory.mktemp("broken") / "modules")
    for name, broken in BROKEN.items():
        modules.write(name, broken.code)
    return modules


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, modules: Modules) -> Iterator[Server]:
    queues = [
        f'[queues.{name}]\nworker = "{name}:Tasks"\nconcurrency = 1\nstart_timeout = "{timeout}"\n'
        for name, timeout in {**dict.fromkeys(BROKEN, "30s"), "hanging": "300ms"}.items()
    ]
    config = "\n".join([*queues, f'[queues.fine]\nworker = "{FINE}"\n'])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(modules.folder), prepend=os.pathsep)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        server = Server(tmp_path_factory.mktemp("server"), config)
    with server:
        yield server


@dataclass(frozen=True)
class Seen:
    """What a queue went through: as it was shown broken, its waiting task, its workers' starts; then both, mended."""

    broken: dict[str, Any]
    waiting: Task
    starts: list[float]
    done: Task
    mended: dict[str, Any]


@pytest.fixture(scope="module")
def seen(server: Server, modules: Modules) -> dict[str, Seen]:
    """Watch all queues at once: their patience grows fast."""

    def is_broken(name: str) -> bool:
        return len(modules.starts(name)) >= STARTS and server.queue(name)["state"] == "degraded"

    with server.client() as client:
        ids = {name: client.enqueue(name).id for name in BROKEN}
        eventually(lambda: all(map(is_broken, BROKEN)), within=30)
        broken = {name: (server.queue(name), client.get(ids[name]), modules.starts(name)) for name in BROKEN}
        for name in BROKEN:
            modules.write(name, MENDED)
        return {name: Seen(*broken[name], client.wait(ids[name]), server.queue(name)) for name in BROKEN}


@pytest.mark.parametrize("name", BROKEN)
def test_a_queue_says_why_its_workers_can_not_start(name: str, seen: dict[str, Seen]) -> None:
    shown = seen[name].broken
    assert shown["state"] == "degraded"
    assert BROKEN[name].why in shown["why"]


@pytest.mark.parametrize("name", BROKEN)
def test_the_reason_is_logged_once_and_not_at_every_try(name: str, seen: dict[str, Seen], server: Server) -> None:
    (line,) = [line for line in server.log().splitlines() if f"queue {name}: workers can't start" in line]
    assert BROKEN[name].why in line


def test_a_working_system_logs_nothing_else(seen: dict[str, Seen], server: Server) -> None:
    lines = server.log().splitlines()
    assert [line for line in lines if "workers can't start" not in line and "Callboard is ready" not in line] == []


@pytest.mark.parametrize("name", BROKEN)
def test_workers_that_can_not_start_are_tried_with_growing_patience(name: str, seen: dict[str, Seen]) -> None:
    gaps = [after - before for before, after in pairwise(seen[name].starts)]
    assert all(gap >= wait for gap, wait in zip(gaps, PATIENCE, strict=False)), gaps


@pytest.mark.parametrize("name", BROKEN)
def test_tasks_wait_uncharged_until_their_workers_are_mended(name: str, seen: dict[str, Seen]) -> None:
    waiting, done, shown = seen[name].waiting, seen[name].done, seen[name].mended
    assert (waiting.state, waiting.attempt) == ("available", 0)
    assert (done.state, done.attempt, done.errors) == ("completed", 1, [])
    assert (shown["state"], shown["why"]) == ("running", "")


def test_queues_beside_broken_ones_work(server: Server, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    with server.client() as client:
        done = client.wait(client.enqueue("fine", {"ledger": str(ledger)}).id)
    assert (done.state, done.attempt) == ("completed", 1)
