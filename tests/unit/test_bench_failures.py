"""What the bench says when tasks, queues or subscribers do not do what is measured."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors import processes
from callboard.actors.bench import backlog, latency, listeners
from callboard.actors.bench.backlog import QUEUE
from callboard.actors.bench.latency import measure_latency
from callboard.actors.bench.listeners import Listeners, listening
from callboard.actors.bench.load import BenchFailed
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.under_test import ServerUnderTest
from callboard.actors.store.memory import MemoryStore

REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 6\r\n\r\nslower"
ACCEPTED = b"HTTP/1.1 201 Created\r\nlocation: /api/tasks/one\r\ncontent-length: 0\r\n\r\n"
SILENT: dict[str, int] = dict.fromkeys((*listeners.EXPECTED, *listeners.MISSING), 0)


@pytest.fixture
def answered() -> Iterator[Callable[[bytes], int]]:
    """Give a port at which one client gets an answer, whatever it sends, and then the end of the connection."""
    threads = []

    def answer(text: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(30)

        def serve() -> None:
            with server, server.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(text)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return int(server.getsockname()[1])

    yield answer
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ACCEPTED[:-2], "the server closed the connection"),
        (REFUSED, "the task was not accepted: HTTP/1.1 429 Too Many Requests"),
        (ACCEPTED, "task one has not ended within 0.02 s"),
    ],
    ids=["cut off", "refused", "never ended"],
)
def test_a_task_whose_time_can_not_be_taken_ends_the_measurement(
    answered: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str
) -> None:
    monkeypatch.setattr(latency, "ENDED_WITHIN_SECONDS", 0.02)
    server = SimpleNamespace(port=answered(answer), store=MemoryStore(clock=lambda: 1))
    with pytest.raises(BenchFailed, match=said):
        measure_latency(cast("ServerUnderTest", server), "noop", 1)


class PlayedServer:
    """Has one queue, whose processes come one after the other, the last for good."""

    def __init__(self, *pids: int | None, waiting: int = 0) -> None:
        self._pids = list(pids)
        self._waiting = waiting

    def command(self, queue: str, verb: str) -> None:
        assert (queue, verb) == (QUEUE, "pause")

    def queue(self, _: str) -> dict[str, Any]:
        pid = self._pids.pop(0) if len(self._pids) > 1 else self._pids[0]
        return {"pid": pid, "counts": {"available": self._waiting}}


def measuring(server: PlayedServer) -> backlog._Measuring:
    return backlog._Measuring(cast("ServerUnderTest", server), Teller(), 5, 5)


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the Queue's process."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_queue_is_restarted_once_it_has_another_process(owner: subprocess.Popen[bytes]) -> None:
    assert measuring(PlayedServer(owner.pid, owner.pid, None, 7))._restart_queue() > 0
    assert owner.wait() == -9


def test_a_queue_that_does_not_come_back_ends_the_measurement(
    owner: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "BACK_WITHIN_SECONDS", 0.0)
    with pytest.raises(BenchFailed, match="the Queue is not back within 0 s"):
        measuring(PlayedServer(owner.pid))._restart_queue()


def test_a_queue_that_is_dead_already_is_not_measured(owner: subprocess.Popen[bytes]) -> None:
    owner.kill()
    owner.wait()
    assert processes.identify(owner.pid) is None
    with pytest.raises(BenchFailed, match="the Queue was gone before it could be killed"):
        measuring(PlayedServer(owner.pid))._restart_queue()


def test_a_queue_with_enough_waiting_tasks_gets_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    measuring(PlayedServer(1, waiting=5))._fill_up_to(5)  # it would stop the server to store any
    assert capsys.readouterr().err == ""


def subscriber(seen: dict[str, int]) -> subprocess.Popen[str]:
    """Start one that says this when it is told how many there were."""
    command = ["sh", "-c", 'read number && test "$number" = 6 && echo "$0"', json.dumps(seen)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("seen", "complete"),
    [
        ({**SILENT, **dict.fromkeys(listeners.EXPECTED, 2)}, True),
        ({**SILENT, **dict.fromkeys(listeners.EXPECTED, 2), "gap": 1}, False),  # all, and yet not all
        ({**SILENT, "enqueued": 2, "started": 2, "completed": 1}, False),
        ({}, False),  # it has died
    ],
)
def test_a_subscriber_that_has_missed_something_ends_the_measurement(seen: dict[str, int], complete: bool) -> None:
    with subscriber(seen) as process:
        if complete:
            Listeners([process]).check(2)
        else:
            with pytest.raises(BenchFailed, match="a subscriber has not seen all events of 2 tasks"):
                Listeners([process]).check(2)


def test_a_subscriber_that_can_not_subscribe_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "true")  # a subscriber that ends without a word
    with pytest.raises(BenchFailed, match="a subscriber could not subscribe"), listening("127.0.0.1", 1, QUEUE):
        pass


def test_a_subscriber_that_is_refused_says_nothing(
    answered: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["listeners", "127.0.0.1", str(answered(REFUSED)), QUEUE])
    listeners.main()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ended", [True, False])
def test_a_subscriber_tells_what_it_has_seen_when_the_stream_ends_or_falls_silent(
    monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    monkeypatch.setattr(listeners, "SILENCE_SECONDS", 0.02)
    server, client = socket.socketpair()
    told, tell = socket.socketpair()
    with server, client, told, tell, told.makefile() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        server.sendall(b"event: enqueued\n\nevent: started\n\n")
        tell.sendall(b"6\n")
        if ended:
            server.shutdown(socket.SHUT_WR)
        assert listeners._count(client) == {**SILENT, "enqueued": 1, "started": 1}


def test_a_stream_that_has_ended_has_nothing_more_to_skip() -> None:
    server, client = socket.socketpair()
    with client:
        server.close()
        listeners._let_pass(client)
        assert client.recv(1) == b""
