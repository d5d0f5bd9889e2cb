"""How programs of the same machine find their server, and find the next one when it has died."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import connection
from callboard.actors.caller import QueueCaller
from callboard.actors.connection import Connection
from callboard.actors.errors import RequestTimedOut, ServerNotRunning
from callboard.actors.messages import Ping, Pong
from callboard.actors.runtime import LOCK_FILE
from tests.support.attached import Attached, announce, living
from tests.support.wires import Wire, mortal_process


class Clock:
    """Stands for the module `time`: while somebody sleeps, the next of `events` happens."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.events: list[Callable[[], object]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.events:
            self.events.pop(0)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    return clock


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> Attached:
    return Attached(monkeypatch, Wire(lambda message: Pong(message.request_id, 7)))


def ping(caller: QueueCaller, left: float) -> int:
    return caller.ask_registry(Ping, Pong, left).pid


def test_a_question_that_a_living_server_does_not_answer_is_asked_once(tmp_path: Path, attached: Attached) -> None:
    announce(tmp_path, living())
    asked: list[float] = []

    def in_vain(_: QueueCaller, left: float) -> None:
        asked.append(left)
        raise RequestTimedOut("no answer")

    with Connection(tmp_path) as reached, pytest.raises(RequestTimedOut, match="no answer"):
        reached.ask(in_vain)
    assert len(asked) == 1
    assert attached.attached == [1]
    assert attached.detached == 1


def test_a_server_that_is_being_started_is_waited_for(tmp_path: Path, attached: Attached, clock: Clock) -> None:
    (tmp_path / LOCK_FILE).write_text(str(os.getpid()), encoding="ascii")
    clock.events = [lambda: None, lambda: announce(tmp_path, living())]
    with Connection(tmp_path) as reached:
        assert reached.ask(ping) == (7, False)
    assert clock.events == []


def test_a_server_whose_start_takes_too_long_is_given_up(tmp_path: Path, attached: Attached, clock: Clock) -> None:
    (tmp_path / LOCK_FILE).write_text(str(os.getpid()), encoding="ascii")
    with pytest.raises(ServerNotRunning, match="callboard serve --data-dir"):
        Connection(tmp_path, timeout=1.0)
    assert clock.now >= 1_001.0


def test_a_server_that_can_not_be_attached_to_is_none(tmp_path: Path, attached: Attached) -> None:
    announce(tmp_path, living())
    attached.absent = {1}
    with pytest.raises(ServerNotRunning, match="callboard serve --data-dir"):
        Connection(tmp_path)


def dying_once_asked(attached: Attached, end: Callable[[], None]) -> None:
    """Let the first server die of its first question; the next one answers."""

    def answer(message: Any) -> Pong | None:
        if attached.attached == [1]:
            end()
            return None
        return Pong(message.request_id, 8)

    attached.wire.script = answer


def test_the_next_server_is_asked_when_the_first_has_died(tmp_path: Path, attached: Attached, clock: Clock) -> None:
    with mortal_process() as (server, end):
        first = announce(tmp_path, server)
        dying_once_asked(attached, end)
        attached.absent = {2}
        clock.events = [lambda: announce(tmp_path, living(), number=2), attached.absent.clear]
        with Connection(tmp_path) as reached:
            assert reached.runtime == first
            answer, unsure = reached.ask(ping)
            assert (answer, unsure) == (8, True)
            assert reached.runtime.admin_port == 2
    assert attached.attached == [1, 2, 2]
    assert attached.detached == 2


def test_a_server_that_has_no_successor_is_said_to_be_gone(tmp_path: Path, attached: Attached, clock: Clock) -> None:
    with mortal_process() as (server, end):
        announce(tmp_path, server)
        dying_once_asked(attached, end)
        with Connection(tmp_path, timeout=1.0) as reached, pytest.raises(ServerNotRunning, match="No server is running"):
            reached.ask(ping)
    assert attached.attached == [1]
    assert attached.detached == 1
