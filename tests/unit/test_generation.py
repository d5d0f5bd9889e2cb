"""One run of the server, as its supervisor sees it; the server itself is a process that only sleeps."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from callboard.actors import generation, processes
from callboard.actors.generation import Generation, Launch
from callboard.actors.processes import Ident
from callboard.actors.undertaker import Born
from tests.support.servings import serving_nothing


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generation]:
    with ExitStack() as ending:
        idents = []
        for _ in Born._fields:
            process = ending.enter_context(subprocess.Popen(["sleep", "1000"]))
            ending.callback(process.kill)
            ident = processes.identify(process.pid)
            assert ident is not None
            idents.append(ident)
        monkeypatch.setattr(generation, "_fork_server", lambda *_: Born(*idents))
        # What else runs below this process is none of the server's.
        monkeypatch.setattr(processes, "end_orphans", lambda known: {*known})
        listener = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield Generation(Launch(serving_nothing(tmp_path), listener, "", Ident(1, 0.0), ()))


def test_a_server_has_its_time_to_come_up_and_no_more(running: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.dead() is None
    monkeypatch.setattr(generation, "START_SECONDS", -1.0)
    assert running.dead() == "the server does not come up"
    running.ready = True
    assert running.dead() is None
    running.end()


def test_of_a_server_that_is_ended_nothing_runs_any_more(running: Generation, caplog: pytest.LogCaptureFixture) -> None:
    running.end()
    assert running.dead() == "the server has ended"
    assert not processes.is_alive(running.undertaker)
    assert caplog.messages == []


def test_processes_that_withstand_their_end_are_told(
    running: Generation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "end_orphans", lambda known: {9, 8, *known})
    running.end()
    assert caplog.messages == ["these processes could not be ended: [8, 9]"]
