"""What a team writes to have its tasks run: a function or a class, and what they may return.

@task(max_retries=5, timeout="30s")
def resize(context, ctx):
return {"width": 100}

class Report(Worker, max_attempts=20):
def perform(self, task):
return {"rows": 3}
"""

import logging
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar, overload

from callboard.actors.errors import CallboardError

if TYPE_CHECKING:
    from pydantic import BaseModel

_Function = TypeVar("_Function", bound=Callable[..., Any])
_MARK: Final = "__callboard_task__"
OPTIONS: Final = "__callboard_options__"
"""The attribute in which a handler keeps what it says of its tasks."""


@dataclass(frozen=True, slots=True)
class Ok:
    """End the attempt well, with this result (any JSON value)."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Error:
    """Fail the attempt with this message, as an exception would; it is retried while its budget lasts."""

    message: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Fail the task for good: no further attempt, whatever is left of its budget."""

    message: str


@dataclass(frozen=True, slots=True)
class Launched:
    """Go on in this process: the task runs, and holds its place, until it ends.

    A `subprocess.Popen`, or the id of a process that the task has started. Its pipes are not read: give it files.
    """

    process: "subprocess.Popen[Any] | int"


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a launched process ended. exit_code: negative for a signal, None where nobody can tell."""

    pid: int
    exit_code: int | None

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.exit_code == 0


class TaskFailed(CallboardError):
    """What `fail` raises."""


def fail(message: str) -> NoReturn:
    """Fail the attempt from wherever it is, as returning `Error(message)` does."""
    raise TaskFailed(message)


@dataclass(slots=True)
class TaskContext:
    """One attempt at one task, as its handler sees it.

    deadline: when the attempt will be killed, in seconds since the epoch. data_dir: the server's data directory.
    settings: the configuration's `[samples]` section.
    """

    id: str
    queue: str
    type: str
    context: dict[str, Any]
    attempt: int
    max_retries: int
    deadline: float
    data_dir: Path
    store_url: str = field(repr=False)  # it may hold a password
    settings: dict[str, Any] = field(default_factory=dict)
    payload: Any = None
    """The context as the model that the handler declares; None without one."""

    @property
    def log(self) -> logging.Logger:
        """A logger named after the task's type."""
        return logging.getLogger(f"callboard.task.{self.type}")


class Worker:
    """Base of class handlers: one instance a worker process, made when the process starts.

    Options of its tasks stand behind the base, over those of the queue: `class Report(Worker, max_attempts=20)`; there are
    name, priority, max_retries or max_attempts, timeout and backoff, written as in the configuration. A subclass has its
    parent's. An exception in the constructor keeps the worker from starting: it is reported on the queue and tried again.
    """

    Context: "ClassVar[type[BaseModel] | None]" = None
    """The model of its tasks' contexts, which are checked by it before `perform` and are its `task.payload`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__()
        inherited = {name: value for name, value in getattr(cls, OPTIONS, {}).items() if name != "name"}
        if "max_attempts" in options:
            inherited.pop("max_retries", None)
        setattr(cls, OPTIONS, _checked({**inherited, **options}))

    def perform(self, task: TaskContext) -> Any:
        """Run one attempt and return its result: a JSON value, `Ok`, `Error`, `Discard` or `Launched`.

        Like the hooks, it may be `async def`.
        """
        raise NotImplementedError

    def after_error(self, task: TaskContext, error: BaseException | Error | Discard) -> Any:
        """React to an attempt that has failed: `error` is the exception, or what was returned or found wrong.

        Not called where the process has died or was killed. What this raises is logged, and changes nothing.
        """

    def after_async(self, task: TaskContext, outcome: ProcessEnd) -> Any:
        """Decide what the end of a launched process means: the same values as from `perform` but `Launched`.

        None leaves it to the exit code: 0 is a success.
        """


@overload
def task(function: _Function, /) -> _Function: ...
@overload
def task(**options: Any) -> Callable[[_Function], _Function]: ...
def task(function: Any = None, /, **options: Any) -> Any:
    """Mark a function as a handler: it is called with the task's context and, if it takes two arguments, a TaskContext.

    If the context's parameter is annotated with a pydantic model, the context is checked by it and given as one. The
    options are those of `Worker`. Raises `InvalidOption` for a wrong one.
    """
    if function is None:
        stored = _checked(options)
        return lambda marked: _marked(marked, stored)
    return _marked(function, {})


def _marked(function: _Function, options: Mapping[str, Any]) -> _Function:
    setattr(function, _MARK, True)
    setattr(function, OPTIONS, options)
    return function


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options in the form that is stored."""
    if not options:
        return {}
    # Loaded when it is needed: who only writes workers has no use for the library that validates.
    from callboard.conf.type_defaults import read_type_defaults  # noqa: PLC0415

    return read_type_defaults(options).model_dump(mode="json", exclude_unset=True)
