"""What a handler says of its tasks' contexts: a pydantic model, by which they are checked before it runs.

A class names it as its `Context`, a function annotates its first parameter with it. What does not fit is a failed attempt
that names task type and field; the handler is not called.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from callboard.actors.errors import CallboardError
from callboard.conf.explain import explain


class InvalidContext(CallboardError):
    """A task's context is not what its handler says that it takes."""


def declared_model(target: Any) -> type[BaseModel] | None:
    """Return the model that a handler declares, None if it takes any context."""
    if inspect.isclass(target):
        return _as_model(getattr(target, "Context", None))
    try:
        first = next(iter(inspect.signature(target).parameters), None)
        hints = typing.get_type_hints(target)
    except (TypeError, ValueError, NameError):
        return None
    return _as_model(hints.get(first or ""))


def read_context(model: type[BaseModel], context: dict[str, Any], type_: str) -> BaseModel:
    """Return a context as its model. Raises `InvalidContext` that names the task's type and every wrong field."""
    try:
        return model.model_validate(context)
    except ValidationError as error:
        wrong = "; ".join(f"{field} {message}" for field, message in wrong_fields(model, error))
        raise InvalidContext(f"{type_}: {wrong}") from None


def wrong_fields(model: type[BaseModel], error: ValidationError) -> list[tuple[str, str]]:
    """Return each wrong field (`sendTo`, `address.city`) with what is wrong with it."""
    details = error.errors(include_url=False, include_input=False)
    return [(".".join(map(str, detail["loc"])) or "context", explain(model, detail)) for detail in details]


def checked(perform: Callable[[Any], Any], model: type[BaseModel] | None) -> Callable[[Any], Any]:
    """Return a handler that checks each context first and puts it, as its model, into the attempt's `payload`."""
    if model is None:
        return perform

    @functools.wraps(perform)
    def check_and_perform(ctx: Any) -> Any:
        ctx.payload = read_context(model, ctx.context, ctx.type)
        return perform(ctx)

    return check_and_perform


def _as_model(declared: object) -> type[BaseModel] | None:
    return declared if isinstance(declared, type) and issubclass(declared, BaseModel) else None
