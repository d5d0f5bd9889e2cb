"""Whatever a handler returns or raises becomes an outcome."""

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.handlers import Discard, Error, Ok, TaskContext
from callboard.actors.runners.call import (
    MAX_MESSAGE_CHARACTERS,
    MAX_RESULT_BYTES,
    MAX_TRACEBACK_CHARACTERS,
    AttemptOutcome,
    CallRunner,
)

CTX = TaskContext("id", "mail", "work", {"a": 1}, 1, 3, 0.0, Path(), "memory:")


class Unspeakable(Exception):
    """Its text can't be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unshowable:
    """Its repr can't be made."""

    def __repr__(self) -> str:
        raise SystemExit(1)


class OwnBase(BaseException):
    """Not an Exception."""


def run(handler: Callable[[TaskContext], Any], *, strict: bool = False) -> AttemptOutcome:
    return CallRunner(handler, strict=strict).run(CTX)


def returning(value: Any) -> Callable[[TaskContext], Any]:
    return lambda _ctx: value


def raising(error: BaseException) -> Callable[[TaskContext], Any]:
    def handler(_ctx: TaskContext) -> None:
        raise error

    return handler


def said(outcome: AttemptOutcome) -> dict[str, Any]:
    """Read a failure as the Queue does."""
    assert not outcome.completed
    found: dict[str, Any] = json.loads(outcome.payload)
    return found


# ---------------------------------------------------------------- what it returns


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, "null"),
        ({"w": 100}, '{"w": 100}'),
        ([1, 2.5, "x", True, None], '[1, 2.5, "x", true, null]'),
        (0, "0"),
        ("", '""'),
        ("\ud800", '"\\ud800"'),  # half a surrogate pair: JSON can write it
        (Ok(), "null"),
        (Ok({"w": 1}), '{"w": 1}'),
        ((1, 2), "[1, 2]"),
    ],
)
def test_a_json_value_is_a_result(value: Any, result: str) -> None:
    assert run(returning(value)) == AttemptOutcome(completed=True, payload=result.encode())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_value_comes_back_as_it_was(value: Any) -> None:
    assert json.loads(run(returning(value)).payload) == value


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({1, 2}, "returned {1, 2}, which can't be JSON: TypeError"),
        (b"bytes", "returned b'bytes', which can't be JSON: TypeError"),
        (math.nan, "can't be JSON: ValueError"),  # nobody else could read it
        ({"a": math.inf}, "can't be JSON: ValueError"),
        (Ok({1}), "can't be JSON: TypeError"),
        ({(1, 2): 3}, "can't be JSON: TypeError"),
        (Unshowable(), "returned a Unshowable, which can't be JSON"),
        ("x" * MAX_RESULT_BYTES, "bytes of JSON, more than 1,000,000"),
    ],
)
def test_a_value_that_can_not_be_kept_is_a_wrong_return(value: Any, part: str) -> None:
    told = said(run(returning(value)))
    assert told["kind"] == "returned"
    assert part in told["message"]
    assert not told["discard"]


def test_a_result_may_be_as_large_as_the_limit_says() -> None:
    assert run(returning("x" * (MAX_RESULT_BYTES - 2))).completed


def test_a_value_within_itself_is_a_wrong_return() -> None:
    value: list[Any] = []
    value.append(value)
    assert said(run(returning(value)))["kind"] == "returned"
    for _ in range(100_000):
        value = [value]
    assert said(run(returning(value)))["kind"] == "returned"


def test_a_handler_can_fail_its_attempt_without_raising() -> None:
    assert said(run(returning(Error("not yet")))) == {
        "kind": "error",
        "message": "not yet",
        "traceback": None,
        "discard": False,
    }
    assert said(run(returning(Discard("never")))) == {
        "kind": "error",
        "message": "never",
        "traceback": None,
        "discard": True,
    }
    assert said(run(returning(Error(404))))["message"] == "404"  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [True, 0, "", {"w": 1}, ("error", "no")])
def test_a_strict_queue_takes_only_none_and_ok(value: Any) -> None:
    told = said(run(returning(value), strict=True))
    assert told["kind"] == "returned"
    assert told["message"] == f"returned {value!r}, but this queue takes only None or Ok(...)"
    assert run(returning(None), strict=True).completed
    assert run(returning(Ok(value)), strict=True).completed
    assert said(run(returning(Error("no")), strict=True))["kind"] == "error"


def test_a_long_value_is_shown_by_its_beginning() -> None:
    message = said(run(returning("x" * 10_000), strict=True))["message"]
    assert len(message) < 300
    assert "xxx…" in message


# ---------------------------------------------------------------- what it raises


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (KeyError(), "KeyError"),  # no text of its own
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (StopIteration(1), "StopIteration: 1"),
        (OwnBase("odd"), "OwnBase: odd"),
        (Unspeakable(), "Unspeakable: (its text can't be made)"),
        (asyncio.CancelledError(), "CancelledError"),
        (ValueError("\ud800"), "ValueError: \ud800"),
    ],
)
def test_whatever_is_raised_fails_the_attempt(error: BaseException, message: str) -> None:
    told = said(run(raising(error)))
    assert (told["kind"], told["message"], told["discard"]) == ("error", message, False)


def test_the_traceback_begins_with_the_handler() -> None:
    told = said(run(raising(ValueError("bad"))))
    assert "in handler" in told["traceback"]
    assert "runners/call.py" not in told["traceback"]
    assert told["traceback"].endswith("ValueError: bad\n")


def test_a_recursion_without_end_is_an_error_like_any_other() -> None:
    def handler(ctx: TaskContext) -> Any:
        return handler(ctx)

    told = said(run(handler))
    assert told["message"].startswith("RecursionError")
    assert len(told["traceback"]) <= MAX_TRACEBACK_CHARACTERS


def test_a_long_message_and_a_long_traceback_are_cut_where_it_hurts_least() -> None:
    told = said(run(raising(ValueError("x" * 100_000))))
    assert told["message"] == "ValueError: " + "x" * (MAX_MESSAGE_CHARACTERS - len("ValueError: "))
    assert len(told["traceback"]) == MAX_TRACEBACK_CHARACTERS


def test_a_worker_without_memory_is_spent() -> None:
    outcome = run(raising(MemoryError()))
    assert outcome.spent
    assert "max_memory" in said(outcome)["message"]
    assert not run(raising(ValueError())).spent
