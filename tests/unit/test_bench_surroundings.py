"""What the bench says while it measures, and when it can't."""

import asyncio
import io
import signal
import sys
from pathlib import Path

import pytest

from callboard.actors.bench import load
from callboard.actors.bench.figures import Figure
from callboard.actors.bench.kills import Recovery
from callboard.actors.bench.load import BenchFailed, post, send_all
from callboard.actors.bench.naps import SecondRuns
from callboard.actors.bench.plan import Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.run import Measured
from callboard.actors.bench.under_test import Served, ServerUnderTest
from tests.support.serving import typed_here


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_step_follows_the_other_with_a_bar_and_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Teller() as teller:
        teller.advance(1)  # before any step: of nothing
        teller.step("storing tasks", 10)
        teller.advance(4)
        assert teller._bar is not None
        (shown,) = teller._bar.tasks
        assert (shown.description, shown.completed, shown.total) == ("storing tasks", 4, 10)
        teller.step("memory")
        (shown,) = teller._bar.tasks
        assert (shown.description, shown.total) == ("memory", None)
    assert teller._bar.finished is False
    assert teller._bar.live.is_started is False


def test_elsewhere_each_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Teller() as teller:
        teller.step("storing tasks", 10)
        teller.advance(4)
        teller.step("memory")
    assert capsys.readouterr() == ("", "storing tasks ...\nmemory ...\n")


def test_a_server_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    server = ServerUnderTest(tmp_path, [Served("Not-A-Name", "noop")])
    with pytest.raises(BenchFailed, match=r"the server does not start: callboard: .*Not-A-Name"):
        server.start()
    server.__exit__(None, None, None)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    server = ServerUnderTest(tmp_path, [])
    with pytest.raises(BenchFailed, match="was not answered"):
        server.ask("GET", "/api/queues/one")
    (tmp_path / "server.log").write_text("started\nout of memory\n")
    with pytest.raises(BenchFailed, match="the server is gone: out of memory"):
        server.runtime()
    (tmp_path / "server.log").write_text("")
    with pytest.raises(BenchFailed, match="the server is gone: it has not said why"):
        server.runtime()


def answered_by(answer: bytes) -> None:
    """Send three tasks to somebody who answers each connection once, and closes it."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def talk() -> None:
        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.to_thread(send_all, "127.0.0.1", port, [post("/api/tasks", {})] * 3, 1)

    asyncio.run(talk())


def test_a_task_that_is_not_accepted_ends_the_measurement() -> None:
    with pytest.raises(BenchFailed, match=r"(?s)a task was not accepted: HTTP/1.1 429 .*slower"):
        answered_by(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 6\r\n\r\nslower")


def test_a_connection_that_ends_too_early_ends_the_measurement() -> None:
    with pytest.raises(BenchFailed, match="the server closed a connection"):
        answered_by(b"HTTP/1.1 201 Created\r\ncontent-le")


def test_without_uvloop_the_loop_is_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert load._loop_factory() is None


@pytest.mark.parametrize(("lost", "code"), [(0, 0), (1, 1)])
def test_the_command_fails_when_a_task_was_lost(monkeypatch: pytest.MonkeyPatch, lost: int, code: int) -> None:
    recovery = Recovery({"worker": Figure("worker", "worker", "s", (0.5, 0.7))}, 10, lost, 0, 0, SecondRuns(1, 0))

    def measured(plan: Plan, beside: Path | None, *, kill: bool, memory: bool) -> Measured:
        assert (beside, kill, memory) == (None, True, False)
        return Measured(
            {"callboard": "1", "python": "3", "system": "s", "cpus": 1, "load_before": [0.0], "filesystem": ""},
            None,
            recovery,
        )

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("callboard.actors.bench.run.run_bench", measured)
    try:
        typed = typed_here("bench", "--kill")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert typed.code == code
    assert "worker" in typed.out
    assert typed.err == ("callboard: the kills did harm to tasks, see above\n" if lost else "")
