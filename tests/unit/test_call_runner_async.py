"""Handlers that are coroutines: they are waited for, and whatever they raise the next attempt can run."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.handler_loading import Handler
from callboard.actors.handlers import Launched, ProcessEnd, TaskContext
from callboard.actors.processes import identify, is_alive
from callboard.actors.runners.call import AttemptOutcome, CallRunner
from tests.support.polling import eventually

CTX = TaskContext("id", "mail", "work", {"a": 1}, 1, 3, 0.0, Path(), "memory:")
MakeRunner = Callable[[Callable[[TaskContext], Any]], CallRunner]


class OwnBase(BaseException):
    """Not an Exception."""


def message(outcome: AttemptOutcome) -> str:
    assert not outcome.completed
    return str(json.loads(outcome.payload)["message"])


@pytest.fixture
def runner() -> Iterator[MakeRunner]:
    """Make runners whose loops are closed afterwards."""
    made: list[CallRunner] = []

    def make(handler: Callable[[TaskContext], Any]) -> CallRunner:
        made.append(CallRunner(handler, strict=False))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_coroutine_is_waited_for(runner: MakeRunner) -> None:
    async def handler(ctx: TaskContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        return ctx.context

    assert runner(handler).run(CTX) == AttemptOutcome(completed=True, payload=b'{"a": 1}')


def test_any_awaitable_is_waited_for(runner: MakeRunner) -> None:
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 7

    assert runner(lambda _ctx: Later()).run(CTX).payload == b"7"


def test_attempts_share_one_loop(runner: MakeRunner) -> None:
    loops = []

    async def handler(_ctx: TaskContext) -> None:
        loops.append(asyncio.get_running_loop())

    one = runner(handler)
    one.run(CTX)
    one.run(CTX)
    assert loops[0] is loops[1]


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), OwnBase(), asyncio.CancelledError(), GeneratorExit()]
)
def test_an_attempt_can_run_after_whatever_a_coroutine_raised(runner: MakeRunner, error: BaseException) -> None:
    errors: list[BaseException] = [error]

    async def handler(_ctx: TaskContext) -> str:
        await asyncio.sleep(0)
        if errors:
            raise errors.pop()
        return "well"

    one = runner(handler)
    assert message(one.run(CTX)).startswith(type(error).__name__)
    assert one.run(CTX) == AttemptOutcome(completed=True, payload=b'"well"')


def test_an_awaitable_that_fails_to_be_one_is_an_error(runner: MakeRunner) -> None:
    class Broken:
        def __await__(self) -> Any:
            raise LookupError("lost")

    assert message(runner(lambda _ctx: Broken()).run(CTX)) == "LookupError: lost"


PARENT = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"


@pytest.mark.parametrize("by_pid", [False, True], ids=["popen", "pid"])
@pytest.mark.parametrize("own_group", [False, True], ids=["its group", "a group of its own"])
def test_a_launched_process_dies_with_its_cancelled_attempt(by_pid: bool, own_group: bool) -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=pipe, stdout=pipe, process_group=0 if own_group else None
    )
    assert process.stdout is not None
    family = [identify(process.pid), identify(int(process.stdout.readline()))]
    told: list[ProcessEnd] = []

    async def handler(_ctx: TaskContext) -> Launched:
        return Launched(process.pid if by_pid else process)

    runner = CallRunner(Handler(handler, None, lambda _ctx, end: told.append(end)), strict=False)
    _cancel(runner, lambda: eventually(lambda: not any(one is not None and is_alive(one) for one in family)))
    assert told == []
    process.communicate()


def test_a_stranger_is_not_killed_for_a_cancelled_attempt() -> None:
    # Looked at from another process: here it would be a child.
    names = "from callboard.actors.processes import identify; from callboard.actors.runners.launched import kill_launched"
    script = f"import sys; {names}; kill_launched(identify(int(sys.argv[1])))"
    with subprocess.Popen(["sleep", "600"]) as stranger:
        subprocess.run([sys.executable, "-c", script, str(stranger.pid)], check=True)
        assert stranger.poll() is None
        stranger.kill()


def _cancel(runner: CallRunner, look: Callable[[], object]) -> None:
    """Cancel an attempt while it waits for its process, look, and let the wait come to its end."""
    waits = threading.Event()
    runner._launched = lambda _pid: waits.set()

    async def cancel() -> AttemptOutcome:
        attempt = asyncio.create_task(runner.run_async(CTX))
        await asyncio.to_thread(waits.wait)
        attempt.cancel()
        outcome = await attempt
        look()
        eventually(lambda: "beside the loop" not in {thread.name for thread in threading.enumerate()})
        return outcome

    assert message(asyncio.run(cancel())) == "CancelledError"
