"""How a worker runs one attempt: it calls the handler and turns whatever happens into an outcome."""

import asyncio
import contextvars
import inspect
import json
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from callboard.actors.handlers import Discard, Error, Ok, TaskContext
from callboard.actors.task import ErrorKind

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 8_000
MAX_RESULT_BYTES = 1_000_000


class AttemptOutcome(NamedTuple):
    """How an attempt ended, ready for the journal: the result as JSON text, or the failure as a JSON object.

    spent: the process has no memory left and is to run nothing more: what was leaked would fail the next task.
    """

    completed: bool
    payload: bytes
    spent: bool = False


_NOTHING = AttemptOutcome(completed=True, payload=b"null")


class CallRunner:
    """Calls a handler, one attempt after another. strict: only `None` and `Ok` are a success."""

    def __init__(self, handler: Callable[[TaskContext], Any], *, strict: bool) -> None:
        self._handler = handler
        self._strict = strict
        self._loop: asyncio.Runner | None = None

    def run(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt. Never raises: a handler may raise anything, `SystemExit` and bare `BaseException` included."""
        try:
            value = self._handler(ctx)
            if inspect.isawaitable(value):
                value = self._wait_for(value)
            return self._judge(value)
        except MemoryError as error:
            said = f"{say(error)} (see the queue's max_memory)"
            return failure(ErrorKind.ERROR, said, _trace(error))._replace(spent=True)
        except BaseException as error:  # noqa: BLE001 - nothing may escape into the actor, which would run it again
            return failure(ErrorKind.ERROR, say(error), _trace(error))

    def _wait_for(self, awaitable: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.Runner()

        async def finish() -> Any:
            return await awaitable

        # Else all would run in the context in which the first one did, and what they log would be taken for its.
        return self._loop.run(finish(), context=contextvars.copy_context())

    def _judge(self, value: Any) -> AttemptOutcome:  # noqa: PLR0911 - one return a kind of value
        if value is None:
            return _NOTHING
        match value:
            case Ok(result):
                value = result
            case Error(message):
                return failure(ErrorKind.ERROR, str(message))
            case Discard(message):
                return failure(ErrorKind.ERROR, str(message), discard=True)
            case _ if self._strict:
                return failure(ErrorKind.RETURNED, f"returned {_show(value)}, but this queue takes only None or Ok(...)")
        try:
            payload = json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return failure(ErrorKind.RETURNED, f"returned {_show(value)}, which can't be JSON: {say(error)}")
        if len(payload) > MAX_RESULT_BYTES:
            size = f"{len(payload):,} bytes of JSON, more than {MAX_RESULT_BYTES:,}"
            return failure(ErrorKind.RETURNED, f"returned {size}: store it elsewhere and return where")
        return AttemptOutcome(completed=True, payload=payload)


def failure(
    kind: ErrorKind,
    message: str,
    trace: str | None = None,
    *,
    discard: bool = False,
    exit_name: str | int | None = None,
) -> AttemptOutcome:
    """Make the outcome of a failed attempt; exit_name: how a program of its own ended."""
    said: dict[str, Any] = {
        "kind": kind,
        "message": message[:MAX_MESSAGE_CHARACTERS],
        "traceback": trace,
        "discard": discard,
    }
    if exit_name is not None:
        said["exit"] = exit_name
    return AttemptOutcome(completed=False, payload=json.dumps(said).encode())


def say(error: BaseException) -> str:
    """Write an exception as one line, even one whose own `__str__` fails."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a handler's exception may do anything
        text = "(its text can't be made)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _trace(error: BaseException) -> str | None:
    """Write the end of the traceback, where the reason is; leave out the frame of this file."""
    try:
        shown = error.__traceback__.tb_next if error.__traceback__ else None
        return "".join(traceback.format_exception(type(error), error, shown))[-MAX_TRACEBACK_CHARACTERS:]
    except BaseException:  # noqa: BLE001 - as above
        return None


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except BaseException:  # noqa: BLE001 - as above
        text = f"a {type(value).__name__}"
    return text if len(text) <= 200 else text[:200] + "…"  # noqa: PLR2004 - long enough to recognise a value by
