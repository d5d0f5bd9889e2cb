"""How a worker with slots runs its tasks: on the real tokens and journal, without actors."""

import asyncio
import contextvars
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callboard.actors.hand_out import Mark
from callboard.actors.handlers import Launched, TaskContext
from callboard.actors.messages import StopTask
from callboard.actors.runners import slots
from callboard.actors.shared_tokens import key_of
from tests.support.polling import eventually
from tests.support.slots_bench import Bench

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.fixture(autouse=True)
def nothing_is_a_leftover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the children of the process that runs the tests: one of them may be a database's server."""
    monkeypatch.setattr(slots, "kill_leftovers", list)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.rest()
    assert bench.untold == []


class Gate:
    """A handler that waits until somebody opens it; how many are in it at once is counted."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.open = threading.Event()

    async def wait(self, ctx: TaskContext) -> str:
        self.inside.append(ctx.id)
        while not self.open.is_set():  # noqa: ASYNC110 - another thread opens it
            await asyncio.sleep(0.002)
        return ctx.id

    def block(self, ctx: TaskContext) -> str:
        self.inside.append(ctx.id)
        self.open.wait()
        return ctx.id


@pytest.mark.parametrize("way", ["wait", "block"])
def test_all_run_at_once_and_each_has_its_own_end(bench: Bench, way: str) -> None:
    gate = Gate()
    bench.handles("gate", getattr(gate, way))
    bench.run(1, *["gate"] * 50)
    bench.run(2, *["gate"] * 50)
    eventually(lambda: len(gate.inside) == 100)
    assert len(bench.begun()) == 100
    gate.open.set()
    ends = bench.ends(100)
    assert {mark for _, _, mark, _ in ends} == {Mark.COMPLETED}
    assert all(payload == f'"{number}/{index}"'.encode() for number, index, _, payload in ends)
    eventually(bench.rang)


def test_what_was_taken_back_is_not_begun_and_the_bell_says_so(bench: Bench) -> None:
    bench.handles("none", lambda _: None)
    bench.run(1, "none", "none", "none", offered=0)
    eventually(bench.rang)
    assert bench.begun() == []
    bench.run(2, "none", "none", offered=1)
    assert [end[:3] for end in bench.ends(1)] == [(2, 0, Mark.COMPLETED)]


def test_tokens_of_a_batch_that_is_still_to_come_are_left_for_it(bench: Bench) -> None:
    bench.handles("none", lambda _: None)
    bench.tokens.put([key_of(3, 0)])
    bench.run(2, "none")
    assert [end[:2] for end in bench.ends(1)] == [(2, 0)]
    bench.tell(3, "none")
    assert [end[:2] for end in bench.ends(2)] == [(2, 0), (3, 0)]


def test_an_async_task_is_stopped_alone_and_says_why(bench: Bench) -> None:
    gate = Gate()
    bench.handles("gate", gate.wait)
    bench.run(1, "gate", "gate", "gate")
    eventually(lambda: len(gate.inside) == 3)
    bench.slots.stop(StopTask(1, 0, timed_out=True))
    bench.slots.stop(StopTask(1, 1, timed_out=False))
    bench.slots.stop(StopTask(9, 1, timed_out=False))  # nobody knows it any more
    late, unwanted = bench.ends(2)
    assert late[2] == Mark.FAILED
    assert b'"kind": "timeout"' in late[3]
    assert b"timeout of 300 ms" in late[3]
    assert unwanted[2:] == (Mark.CANCELLED, b"")
    gate.open.set()
    assert bench.ends(3)[2][2] == Mark.COMPLETED
    assert not bench.slots.spent


def test_a_launched_process_does_not_outlive_its_task_though_others_go_on(bench: Bench) -> None:
    gate, launched = Gate(), list[subprocess.Popen[bytes]]()

    async def launches(_: TaskContext) -> Launched:
        launched.append(subprocess.Popen(["sleep", "600"]))  # noqa: ASYNC220 - as docs/workers.md has it
        return Launched(launched[0])

    bench.handles("launches", launches)
    bench.handles("gate", gate.wait)
    bench.run(1, "launches", "gate")
    eventually(lambda: launched and gate.inside)
    bench.slots.stop(StopTask(1, 0, timed_out=True))
    assert b'"kind": "timeout"' in bench.ends(1)[0][3]
    assert eventually(launched[0].poll) == -signal.SIGKILL
    gate.open.set()
    assert bench.ends(2)[1][2] == Mark.COMPLETED


def test_one_that_ends_well_though_it_was_asked_to_stop_has_ended_well(bench: Bench) -> None:
    inside = threading.Event()

    async def stubborn(_: TaskContext) -> str:
        inside.set()
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    bench.handles("stubborn", stubborn)
    bench.run(1, "stubborn")
    inside.wait()
    bench.slots.stop(StopTask(1, 0, timed_out=True))
    assert bench.ends(1)[0][2:] == (Mark.COMPLETED, b'"done all the same"')


def test_a_cancellation_that_nobody_asked_for_is_an_error(bench: Bench) -> None:
    async def cancels_itself(_: TaskContext) -> None:
        raise asyncio.CancelledError

    bench.handles("itself", cancels_itself)
    bench.run(1, "itself")
    assert b'"kind": "error", "message": "CancelledError"' in bench.ends(1)[0][3]


def test_one_that_a_neighbour_has_cancelled_before_it_began_has_failed(bench: Bench) -> None:
    gate = Gate()

    async def cancels_all_others(_: TaskContext) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    bench.handles("cancels", cancels_all_others)
    bench.handles("gate", gate.wait)
    bench.run(1, "cancels", "gate")
    neighbour, cancelled = bench.ends(2)
    assert neighbour[2] == Mark.COMPLETED
    assert b'"kind": "error", "message": "CancelledError"' in cancelled[3]
    assert gate.inside == []


@pytest.mark.parametrize("is_async", [False, True], ids=["in a thread", "on the loop"])
def test_a_child_that_a_task_has_forked_ends_without_a_word_when_it_comes_back(bench: Bench, *, is_async: bool) -> None:
    def forks(_: TaskContext) -> int | str:
        child = os.fork()
        return os.waitpid(child, 0)[1] if child else "from the child"

    async def forks_too(ctx: TaskContext) -> int | str:
        return forks(ctx)

    bench.handles("forks", forks_too if is_async else forks)
    bench.handles("next", lambda _: "next")
    bench.run(1, "forks", "next")
    assert [end[2:] for end in bench.ends(2)] == [(Mark.COMPLETED, b"0"), (Mark.COMPLETED, b'"next"')]


def test_a_thread_can_not_be_stopped_and_has_the_process_replaced(bench: Bench) -> None:
    gate = Gate()
    bench.handles("gate", gate.block)
    bench.run(1, "gate")
    eventually(lambda: gate.inside)
    bench.slots.stop(StopTask(1, 0, timed_out=True))
    eventually(bench.rang)
    assert bench.slots.spent
    gate.open.set()
    assert bench.ends(1)[0][2] == Mark.COMPLETED  # it did stop in the end, before anybody has killed it


def raises(error: BaseException) -> Callable[[TaskContext], None]:
    def handler(_: TaskContext) -> None:
        raise error

    return handler


async def exits(_: TaskContext) -> None:
    raise SystemExit(3)


async def starts_one_that_exits(ctx: TaskContext) -> None:
    await asyncio.gather(asyncio.create_task(exits(ctx)), return_exceptions=True)


def test_whatever_a_handler_does_is_its_own_failure(bench: Bench) -> None:
    bench.handles("stop", raises(StopIteration()))
    bench.handles("exit", raises(SystemExit(3)))
    bench.handles("exits", exits)
    bench.handles("starts", starts_one_that_exits)
    bench.handles("awaitable", lambda _: asyncio.sleep(0, "later"))
    bench.run(1, "stop", "exit", "exits", "unknown", "awaitable", "starts")
    ends = bench.ends(6)
    assert [mark for _, _, mark, _ in ends[:4]] == [Mark.FAILED] * 4
    for end, said in zip(ends, (b"StopIteration", b"SystemExit: 3", b"SystemExit: 3", b"no such type"), strict=False):
        assert said in end[3]
    assert ends[4][2:] == (Mark.COMPLETED, b'"later"')
    bench.run(2, "awaitable")
    assert len(bench.ends(7)) == 7  # the loop goes on


def test_a_wrong_return_in_strict_mode_has_the_process_replaced(bench: Bench) -> None:
    bench.handles("strict", lambda _: "done", strict=True)
    bench.run(1, "strict")
    assert b"'done'" in bench.ends(1)[0][3]
    assert bench.slots.spent


def test_each_attempt_has_context_variables_of_its_own(bench: Bench) -> None:
    def sets(ctx: TaskContext) -> str:
        before = VARIABLE.get()
        VARIABLE.set(ctx.id)
        return before

    async def sets_too(ctx: TaskContext) -> str:
        return sets(ctx)

    bench.handles("sync", sets)
    bench.handles("async", sets_too)
    for number in range(1, 5):
        bench.run(number, "sync" if number % 2 else "async")
        assert bench.ends(number)[-1][3] == b'"unset"'


def test_threads_are_used_again(bench: Bench) -> None:
    names: list[str] = []
    bench.handles("name", lambda _: names.append(threading.current_thread().name))
    for number in range(1, 6):
        bench.run(number, "name")
        bench.ends(number)
    assert len(set(names)) <= 2  # one may still be on its way back when the next is wanted


def test_a_journal_that_is_gone_ends_the_process(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.handles("none", lambda _: None)
    os.close(bench._writer._fd)
    bench.run(1, "none")
    eventually(lambda: bench.untold)
    assert isinstance(bench.untold[0], OSError)
