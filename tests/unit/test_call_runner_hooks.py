"""What a handler does beside its work: it hears how an attempt has failed, and decides what a process has achieved."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.handler_loading import Handler
from callboard.actors.handlers import Discard, Error, Launched, Ok, ProcessEnd, TaskContext
from callboard.actors.runners.call import AttemptOutcome, CallRunner
from tests.support.polling import eventually

CTX = TaskContext("id", "mail", "work", {}, 1, 3, 0.0, Path(), "memory:")
Heard = list[tuple[str, str]]
Run = Callable[[Handler], AttemptOutcome]


def on_the_loop(handler: Handler) -> AttemptOutcome:
    """Run an attempt beside others, as a worker with slots does."""

    async def perform(ctx: TaskContext) -> Any:
        return handler.perform(ctx)

    hooks = Handler(perform, handler.after_error, handler.after_async)
    return asyncio.run(CallRunner(hooks, strict=False).run_async(CTX))


@pytest.fixture(params=["alone", "on a loop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run an attempt in one of both ways."""
    runners: list[CallRunner] = []

    def alone(handler: Handler) -> AttemptOutcome:
        runners.append(CallRunner(handler, strict=False))
        return runners[-1].run(CTX)

    yield on_the_loop if request.param == "on a loop" else alone
    for runner in runners:
        runner.close()


def returning(value: Any) -> Callable[[TaskContext], Any]:
    return lambda _ctx: value


def raising(_ctx: TaskContext) -> None:
    raise LookupError("lost")


def listener(heard: Heard) -> Callable[[TaskContext, Any], None]:
    """Note the kind and the text of what after_error gets."""
    return lambda _ctx, error: heard.append((type(error).__name__, str(error)))


def late_listener(heard: Heard) -> Callable[[TaskContext, Any], Any]:
    """Note the same, but not before it is awaited."""

    async def after_error(ctx: TaskContext, error: Any) -> None:
        await asyncio.sleep(0)
        listener(heard)(ctx, error)

    return after_error


def said(outcome: AttemptOutcome) -> dict[str, Any]:
    assert not outcome.completed
    told: dict[str, Any] = json.loads(outcome.payload)
    return told


# ---------------------------------------------------------------- after_error


@pytest.mark.parametrize("listen", [listener, late_listener], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("perform", "told"),
    [
        (raising, ("LookupError", "lost")),
        (returning(Error("not yet")), ("Error", str(Error("not yet")))),
        (returning(Discard("never")), ("Discard", str(Discard("never")))),
    ],
)
def test_after_error_hears_what_has_failed_the_attempt_and_is_waited_for(
    run: Run, listen: Callable[[Heard], Any], perform: Callable[[TaskContext], Any], told: tuple[str, str]
) -> None:
    heard: Heard = []
    said(run(Handler(perform, listen(heard))))
    assert heard == [told]


def test_after_error_is_not_called_for_a_success(run: Run) -> None:
    heard: Heard = []
    assert run(Handler(returning(Ok(1)), listener(heard))).payload == b"1"
    assert heard == []


@pytest.mark.parametrize("hook_is_async", [False, True], ids=["plain", "async"])
def test_an_after_error_that_fails_leaves_the_outcome_as_it_was(
    run: Run, caplog: pytest.LogCaptureFixture, *, hook_is_async: bool
) -> None:
    def after_error(_ctx: TaskContext, _error: Any) -> None:
        raise SystemExit(3)

    async def late(ctx: TaskContext, error: Any) -> None:
        after_error(ctx, error)

    told = said(run(Handler(raising, late if hook_is_async else after_error)))
    assert told["message"] == "LookupError: lost"
    assert "after_error has failed itself" in caplog.text


def test_without_memory_after_error_is_not_called(run: Run) -> None:
    heard: Heard = []

    def perform(_ctx: TaskContext) -> None:
        raise MemoryError

    assert run(Handler(perform, listener(heard))).spent
    assert heard == []


# ---------------------------------------------------------------- launched processes


@pytest.mark.parametrize("process", [None, "7", 7.0, True, 0], ids=repr)
def test_launched_with_what_is_no_process_is_a_wrong_return(run: Run, process: Any) -> None:
    told = said(run(Handler(returning(Launched(process)))))
    assert told["kind"] == "returned"
    assert told["message"].startswith(f"returned Launched({process!r}), which is no process")


def test_a_process_whose_end_nobody_can_know_fails_the_attempt(run: Run) -> None:
    pid = waited_for()
    told = said(run(Handler(returning(Launched(pid)))))
    assert (told["kind"], told.get("exit")) == ("error", None)
    assert f"how the process {pid} ended can't be known" in told["message"]


def test_after_async_may_call_an_end_that_nobody_can_know_a_success(run: Run) -> None:
    ends: list[ProcessEnd] = []

    def after_async(_ctx: TaskContext, end: ProcessEnd) -> Ok:
        ends.append(end)
        return Ok("done")

    pid = waited_for()
    assert run(Handler(returning(Launched(pid)), None, after_async)).payload == b'"done"'
    assert ends == [ProcessEnd(pid, None)]


def test_after_async_may_launch_nothing_more(run: Run) -> None:
    pid = waited_for()
    told = said(run(Handler(returning(Launched(pid)), None, lambda _ctx, _end: Launched(pid))))
    assert (told["kind"], told["message"]) == ("returned", "after_async returned Launched, which only perform may")


@pytest.mark.parametrize("known", [True, False], ids=["a process that is gone", "no process"])
def test_a_cancelled_attempt_with_nothing_to_kill_is_only_cancelled(*, known: bool) -> None:
    async def perform(_ctx: TaskContext) -> Launched:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # it takes effect where it waits next: for the process
        process: Any = waited_for() if known else None
        return Launched(process)

    async def attempt() -> AttemptOutcome:
        outcome = await CallRunner(Handler(perform), strict=False).run_async(CTX)
        eventually(lambda: "beside the loop" not in {thread.name for thread in threading.enumerate()})
        return outcome

    assert said(asyncio.run(attempt()))["message"] == "CancelledError"


def waited_for() -> int:
    """Return the pid of a process that has been waited for, so that how it ended can't be asked any more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
