"""Handlers that are coroutines: they are waited for, and whatever they raise the next attempt can run."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.handlers import TaskContext
from callboard.actors.runners.call import AttemptOutcome, CallRunner

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
        if one._loop is not None:
            one._loop.close()


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
