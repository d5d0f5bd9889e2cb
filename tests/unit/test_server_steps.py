"""The server's dealings with its Registry when that says nothing, or not what was hoped for; the Registry is played."""

import os
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import processes, server
from callboard.actors.messages import Pong, ShutDownDone
from callboard.actors.processes import Ident
from callboard.actors.runtime import Runtime
from callboard.actors.server import RegistryLost, Serving
from callboard.actors.system import Booted
from tests.support.servings import serving_nothing

# isort: split
from thespian.system.transport.TCPTransport import TCPTransport

NOBODY = Ident(2**22 + 1, 0.0)
REGISTRY = TCPTransport.getAddressFromString("127.0.0.1:1")


class PlayedSystem:
    """Passes on what the Registry says: nothing, or `reply` to each request."""

    def __init__(self, reply: Any = None) -> None:
        self._reply = reply

    def ask(self, _: Any, request: Any, __: float) -> Any:
        return self._reply and self._reply(request.request_id)

    def listen(self, _: float) -> Any:
        return None


def booted(reply: Any = None) -> Booted:
    return Booted(PlayedSystem(reply), 1, Path("key"), NOBODY, NOBODY)


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return serving_nothing(tmp_path)


def runtime_of(serving: Serving) -> Runtime:
    return server._runtime(serving, "http://127.0.0.1:1", booted(), REGISTRY, supervisor=NOBODY, registry_ident=NOBODY)


def test_a_registry_that_says_nothing_has_not_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MEETING_SECONDS", 0.0)
    with pytest.raises(RegistryLost, match="the Registry did not come up"):
        server._meet_registry(booted(), REGISTRY)


def test_a_registry_that_has_died_since_it_answered_has_not_come_up() -> None:
    with pytest.raises(RegistryLost, match="the Registry did not come up"):
        server._meet_registry(booted(lambda asked: Pong(asked, NOBODY.pid)), REGISTRY)


def test_a_registry_that_dies_while_it_starts_is_not_waited_for(serving: Serving) -> None:
    with pytest.raises(RegistryLost, match="the Registry did not get ready"):
        server._start_registry(serving, booted(), REGISTRY, NOBODY, runtime_of(serving))


def test_the_runtime_names_only_processes_that_are_there(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_of(serving).pids["undertaker"] == processes.identify(os.getppid())
    monkeypatch.setattr(os, "getppid", lambda: NOBODY.pid)
    pids = runtime_of(serving).pids
    assert "undertaker" not in pids
    assert pids["server"] == processes.identify(os.getpid())


@pytest.mark.parametrize(
    ("reply", "warning"),
    [
        (lambda asked: ShutDownDone(asked, 0), []),
        (lambda asked: ShutDownDone(asked, 3), ["3 tasks were still running after the grace and go back"]),
        (None, ["the Registry did not say that all queues have stopped"]),  # it is dead
    ],
)
def test_what_the_end_of_the_registry_has_left_is_warned_of(
    serving: Serving, caplog: pytest.LogCaptureFixture, reply: Any, warning: list[str]
) -> None:
    server._stop_registry(serving, booted(reply), REGISTRY, NOBODY)
    assert caplog.messages == warning
