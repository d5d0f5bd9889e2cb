"""How a worker runs one attempt: it calls the handler and turns whatever happens into an outcome."""

import asyncio
import contextvars
import functools
import inspect
import json
import threading
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from callboard.actors.handler_loading import Handler, is_async
from callboard.actors.handlers import Discard, Error, Launched, Ok, TaskContext, TaskFailed
from callboard.actors.processes import exit_name, identify
from callboard.actors.runners.launched import kill_launched, pid_of, wait_for
from callboard.actors.runners.threads import in_thread
from callboard.actors.task import ErrorKind

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK_CHARACTERS = 8_000
MAX_RESULT_BYTES = 1_000_000
_UNKNOWN_END = "how the process {} ended can't be known: the task had waited for it, or it was none of its own"


class AttemptOutcome(NamedTuple):
    """How an attempt ended, ready for the journal: the result as JSON text, or the failure as a JSON object.

    spent: the process is to run nothing more. It has no memory left, and what was leaked would fail the next task; or its
    queue is strict and was returned what is no result.
    """

    completed: bool
    payload: bytes
    spent: bool = False


_NOTHING = AttemptOutcome(completed=True, payload=b"null")


def tell_nobody(_pid: int) -> None:
    """Do nothing: nobody wants to know which process a task has launched."""


class CallRunner:
    """Calls a handler, one attempt after another. strict: only `None` and `Ok` are a success.

    launched: is told the process that a task goes on in, before it is waited for.
    """

    def __init__(
        self,
        handler: Handler | Callable[[TaskContext], Any],
        *,
        strict: bool,
        launched: Callable[[int], None] = tell_nobody,
    ) -> None:
        self._handler = handler if isinstance(handler, Handler) else Handler(handler)
        self._perform = self._handler.perform
        self._strict = strict
        self._launched = launched
        self._loop: asyncio.Runner | None = None
        self.is_async = is_async(self._perform)

    def run(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt. Never raises: a handler may raise anything, `SystemExit` and bare `BaseException` included."""
        raised: BaseException | None = None
        try:
            value = self._perform(ctx)
            if inspect.isawaitable(value):
                value = self._wait_for(value)
            outcome = self._judge(value, ctx)
        except BaseException as error:  # noqa: BLE001 - nothing may escape into the actor, which would run it again
            raised, outcome = error, _raised(error)
        if self._reacts_to(outcome, raised):
            try:
                value = self._after_error(ctx, outcome, raised)
                if inspect.isawaitable(value):
                    self._wait_for(value)
            except BaseException:
                ctx.log.exception("after_error has failed itself")
        return outcome

    def close(self) -> None:
        """Close the loop of the async handlers; the next attempt that needs one makes another."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    async def run_async(self, ctx: TaskContext) -> AttemptOutcome:
        """Run one attempt at an async handler on the loop that is running; else as `run`."""
        raised: BaseException | None = None
        try:
            value = await self._perform(ctx)
            if isinstance(value, Launched):
                outcome = await self._follow_async(ctx, value.process)
            else:
                outcome = self._judge(value, ctx)
        except asyncio.CancelledError as error:
            return _raised(error)
        except BaseException as error:  # noqa: BLE001 - as above
            raised, outcome = error, _raised(error)
        if self._reacts_to(outcome, raised):
            try:
                value = self._after_error(ctx, outcome, raised)
                if inspect.isawaitable(value):
                    await value
            except BaseException:
                ctx.log.exception("after_error has failed itself")
        return outcome

    async def _follow_async(self, ctx: TaskContext, process: Any) -> AttemptOutcome:
        """Have a thread follow a launched process, which does not outlive a cancellation."""
        pid = pid_of(process)
        known = None if pid is None else identify(pid)
        given_up = threading.Event()
        try:
            return await in_thread(functools.partial(self._follow, ctx, process, given_up))
        except asyncio.CancelledError:
            given_up.set()
            if known is not None:
                kill_launched(known)
            raise

    def _reacts_to(self, outcome: AttemptOutcome, raised: BaseException | None) -> bool:
        if isinstance(raised, MemoryError):
            return False  # whatever it does would need some
        return not outcome.completed and self._handler.after_error is not None

    def _after_error(self, ctx: TaskContext, outcome: AttemptOutcome, raised: BaseException | None) -> Any:
        said = json.loads(outcome.payload)
        error = raised or (Discard(said["message"]) if said["discard"] else Error(said["message"]))
        assert self._handler.after_error is not None
        return self._handler.after_error(ctx, error)

    def _follow(self, ctx: TaskContext, process: Any, given_up: threading.Event | None = None) -> AttemptOutcome:
        """Wait for a launched process, and have it decided what its end means, unless the attempt has been given up."""
        pid = pid_of(process)
        if pid is None:
            text = f"returned Launched({_show(process)}), which is no process: it takes a subprocess.Popen or a pid"
            return failure(ErrorKind.RETURNED, text)
        self._launched(pid)
        end = wait_for(process, pid)
        wanted = given_up is None or not given_up.is_set()
        if wanted and self._handler.after_async is not None:
            value = self._handler.after_async(ctx, end)
            if inspect.isawaitable(value):
                value = self._wait_for(value)
            if isinstance(value, Launched):
                return failure(ErrorKind.RETURNED, "after_async returned Launched, which only perform may")
            if value is not None:
                return self._judge(value, ctx)
        if end.ok:
            return _NOTHING
        if end.exit_code is None:
            return failure(ErrorKind.ERROR, _UNKNOWN_END.format(pid))
        code = exit_name(end.exit_code)
        how = f"signal {code}" if isinstance(code, str) else f"exit code {code}"
        return failure(ErrorKind.ERROR, f"the process {pid} ended with {how}", exit=code)

    def _wait_for(self, awaitable: Any) -> Any:
        async def finish() -> Any:
            return await awaitable

        if threading.current_thread() is not threading.main_thread():
            return asyncio.run(finish())  # beside others, each of which needs a loop of its own
        if self._loop is None:
            self._loop = asyncio.Runner()
        # Else all would run in the context in which the first one did, and what they log would be taken for its.
        return self._loop.run(finish(), context=contextvars.copy_context())

    def _judge(self, value: Any, ctx: TaskContext) -> AttemptOutcome:  # noqa: PLR0911 - one return a kind of value
        if value is None:
            return _NOTHING
        match value:
            case Ok(result):
                value = result
            case Error(message):
                return failure(ErrorKind.ERROR, str(message))
            case Discard(message):
                return failure(ErrorKind.ERROR, str(message), discard=True)
            case Launched(process):
                return self._follow(ctx, process)
            case _ if self._strict:
                said = f"returned {_show(value)}, but this queue takes only None or Ok(...)"
                return failure(ErrorKind.RETURNED, said)._replace(spent=True)
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
    exit: str | int | None = None,  # noqa: A002 - as people see it
) -> AttemptOutcome:
    """Make the outcome of a failed attempt; exit: how a program of its own ended."""
    said: dict[str, Any] = {
        "kind": kind,
        "message": message[:MAX_MESSAGE_CHARACTERS],
        "traceback": trace,
        "discard": discard,
    }
    if exit is not None:
        said["exit"] = exit
    return AttemptOutcome(completed=False, payload=json.dumps(said).encode())


def _raised(error: BaseException) -> AttemptOutcome:
    if isinstance(error, MemoryError):
        said = f"{say(error)} (see the queue's max_memory)"
        return failure(ErrorKind.ERROR, said, _trace(error))._replace(spent=True)
    if isinstance(error, TaskFailed):
        return failure(ErrorKind.ERROR, str(error))
    return failure(ErrorKind.ERROR, say(error), _trace(error))


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
