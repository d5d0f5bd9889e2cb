"""What a team writes to have its tasks run: a function or a class, and what they may return.

@task
def resize(context, ctx):
return {"width": 100}

class Report(Worker):
def perform(self, task):
return {"rows": 3}
"""

import importlib
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from callboard.actors.errors import CallboardError

if TYPE_CHECKING:
    from pydantic import BaseModel

_Function = TypeVar("_Function", bound=Callable[..., Any])
_NAME = "__callboard_task__"
_ASYNC = "__callboard_async__"


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

    An exception in the constructor keeps the worker from starting: it is reported on the queue and tried again.
    """

    Context: "ClassVar[type[BaseModel] | None]" = None
    """The model of its tasks' contexts, which are checked by it before `perform` and are its `task.payload`."""

    def perform(self, task: TaskContext) -> Any:
        """Run one attempt and return its result: a JSON value, `Ok`, `Error` or `Discard`. May be `async def`."""
        raise NotImplementedError


def task(function: _Function) -> _Function:
    """Mark a function as a handler: it is called with the task's context and, if it takes two arguments, a TaskContext.

    If the context's parameter is annotated with a pydantic model, the context is checked by it and given as one.
    """
    setattr(function, _NAME, True)
    return function


class HandlerNotFound(CallboardError):
    """A worker path that leads to nothing that can run tasks."""


def load_handler(path: str) -> Callable[[TaskContext], Any]:
    """Import `module:attribute` and return what runs one attempt.

    Raises `HandlerNotFound` with the reason, or whatever the import or the constructor raises.
    """
    # Not before it is needed: who only writes handlers need not load pydantic.
    from callboard.actors.payloads import checked, declared_model  # noqa: PLC0415

    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        message = f"{path!r} is not of the form module:attribute"
        raise HandlerNotFound(message)
    target: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            message = f"module {module_name!r} has no {attribute!r}"
            raise HandlerNotFound(message) from None
    if inspect.isclass(target):
        perform = getattr(target(), "perform", None)
        if not callable(perform):
            message = f"{path!r} is a class without a method perform(task)"
            raise HandlerNotFound(message)
        return checked(perform, declared_model(target))
    if not callable(target):
        message = f"{path!r} is neither a class nor a function"
        raise HandlerNotFound(message)
    model = declared_model(target)
    return checked(_calling(target, as_model=model is not None), model)


def _calling(function: Callable[..., Any], *, as_model: bool) -> Callable[[TaskContext], Any]:
    """Adapt `function(context)` or `function(context, ctx)` to the one form that workers call."""

    def context(ctx: TaskContext) -> Any:
        return ctx.payload if as_model else ctx.context

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return lambda ctx: function(context(ctx))
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL}]
    if len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in positional):
        return _marked(lambda ctx: function(context(ctx), ctx), function)
    return _marked(lambda ctx: function(context(ctx)), function)


def _marked(handler: Callable[[TaskContext], Any], function: Callable[..., Any]) -> Callable[[TaskContext], Any]:
    setattr(handler, _ASYNC, inspect.iscoroutinefunction(function))
    return handler


def is_async(handler: Callable[[TaskContext], Any]) -> bool:
    """Tell whether what `load_handler` has returned is known to run on a loop; if not, it may still return an awaitable."""
    return getattr(handler, _ASYNC, False) or inspect.iscoroutinefunction(handler)
