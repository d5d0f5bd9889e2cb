"""From the path of a worker in the configuration to what runs its tasks."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from callboard.actors.errors import CallboardError
from callboard.actors.handlers import OPTIONS, ProcessEnd, TaskContext

_ASYNC: Final = "__callboard_async__"


class HandlerNotFound(CallboardError):
    """A worker path that leads to nothing that can run tasks."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What a worker path leads to. Calling it runs one attempt; the hooks are None for functions."""

    perform: Callable[[TaskContext], Any]
    after_error: Callable[[TaskContext, Any], Any] | None = None
    after_async: Callable[[TaskContext, ProcessEnd], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, ctx: TaskContext) -> Any:
        """Run one attempt."""
        return self.perform(ctx)


def load_handler(path: str) -> Handler:
    """Import `module:attribute` and return what runs its tasks.

    Raises `HandlerNotFound` with the reason, or whatever the import or the constructor raises.
    """
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
    return handler_of(target, path)


def handler_of(target: Any, path: str = "") -> Handler:
    """Make a handler of a class, of which one instance is made, or of a function. Raises `HandlerNotFound`."""
    # Not before it is needed: who only writes handlers need not load pydantic.
    from callboard.actors.payloads import checked, declared_model  # noqa: PLC0415

    options, model = getattr(target, OPTIONS, {}), declared_model(target)
    if inspect.isclass(target):
        instance = target()
        perform, after_error, after_async = (
            found if callable(found := getattr(instance, name, None)) else None
            for name in ("perform", "after_error", "after_async")
        )
        if perform is None:
            message = f"{path!r} is a class without a method perform(task)"
            raise HandlerNotFound(message)
        return Handler(checked(perform, model), after_error, after_async, options)
    if not callable(target):
        message = f"{path!r} is neither a class nor a function"
        raise HandlerNotFound(message)
    return Handler(checked(_calling(target, as_model=model is not None), model), options=options)


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
        return _as_async(lambda ctx: function(context(ctx), ctx), function)
    return _as_async(lambda ctx: function(context(ctx)), function)


def _as_async(handler: Callable[[TaskContext], Any], function: Callable[..., Any]) -> Callable[[TaskContext], Any]:
    setattr(handler, _ASYNC, inspect.iscoroutinefunction(function))
    return handler


def is_async(handler: Callable[[TaskContext], Any]) -> bool:
    """Tell whether what `load_handler` has returned is known to run on a loop; if not, it may still return an awaitable."""
    return getattr(handler, _ASYNC, False) or inspect.iscoroutinefunction(inspect.unwrap(handler))
