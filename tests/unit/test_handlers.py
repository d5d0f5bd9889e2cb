"""What a worker path leads to, and how it is called."""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import Worker, task
from callboard.actors.handler_loading import HandlerNotFound, load_handler
from callboard.actors.handlers import TaskContext

CTX = TaskContext("id", "mail", "work", {"a": 1}, 2, 3, 0.0, Path(), "memory:")


class Report(Worker):
    def __init__(self) -> None:
        self.made = True

    def perform(self, task: TaskContext) -> Any:
        return ("performed", task.attempt, self.made)


class Unable:
    """Has no perform."""


class Raising(Worker):
    def __init__(self) -> None:
        raise ConnectionError("no database")


class Holder:
    """Leads to an inner handler."""

    @staticmethod
    def inner(context: dict[str, Any]) -> Any:
        return ("inner", context)


class Callable_:  # noqa: N801 - an instance is a handler
    def __call__(self, context: dict[str, Any], ctx: TaskContext) -> Any:
        return ("called", context, ctx.attempt)


@task
def marked(context: dict[str, Any]) -> Any:
    return ("marked", context)


def with_ctx(context: dict[str, Any], ctx: TaskContext) -> Any:
    return ("with ctx", context, ctx.id)


def with_any(*arguments: Any) -> Any:
    return ("with any", len(arguments))


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    """A team's module."""
    module = types.ModuleType("teams_module")
    for handler in (Report, Unable, Raising, Holder, marked, with_ctx, with_any):
        setattr(module, handler.__name__, handler)
    module.instance = Callable_()  # type: ignore[attr-defined]
    module.partial = functools.partial(with_ctx, ctx=CTX)  # type: ignore[attr-defined]
    module.builtin = len  # type: ignore[attr-defined]
    module.unsigned = _without_signature()  # type: ignore[attr-defined]
    module.value = 7  # type: ignore[attr-defined]
    sys.modules["teams_module"] = module
    yield module
    del sys.modules["teams_module"]


def _without_signature() -> Callable[..., Any]:
    def handler(context: dict[str, Any]) -> Any:
        return ("unsigned", context)

    handler.__signature__ = "none"  # type: ignore[attr-defined]
    return handler


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("marked", ("marked", {"a": 1})),  # takes the context
        ("with_ctx", ("with ctx", {"a": 1}, "id")),  # takes the attempt as well
        ("with_any", ("with any", 2)),  # takes what there is
        ("Report", ("performed", 2, True)),  # a class is made once, its method gets the attempt
        ("Holder.inner", ("inner", {"a": 1})),  # an attribute of an attribute
        ("instance", ("called", {"a": 1}, 2)),
        ("partial", ("with ctx", {"a": 1}, "id")),
        ("builtin", 1),
        ("unsigned", ("unsigned", {"a": 1})),  # nobody knows what it takes: the context
    ],
)
def test_a_path_leads_to_what_runs_an_attempt(name: str, result: Any) -> None:
    assert load_handler(f"teams_module:{name}")(CTX) == result


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("teams_module", "not of the form module:attribute"),
        ("teams_module:", "not of the form module:attribute"),
        (":marked", "not of the form module:attribute"),
        ("teams_module:missing", "module 'teams_module' has no 'missing'"),
        ("teams_module:Holder.missing", "has no 'Holder.missing'"),
        ("teams_module:Unable", "is a class without a method perform(task)"),
        ("teams_module:value", "is neither a class nor a function"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(path: str, part: str) -> None:
    with pytest.raises(HandlerNotFound) as raised:
        load_handler(path)
    assert part in str(raised.value)


def test_what_an_import_or_a_constructor_raises_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError):
        load_handler("no_such_module:work")
    with pytest.raises(ConnectionError, match="no database"):
        load_handler("teams_module:Raising")


def test_a_worker_class_without_perform_of_its_own_says_so_when_it_is_called(module: types.ModuleType) -> None:
    module.Worker = Worker  # type: ignore[attr-defined]
    with pytest.raises(NotImplementedError):
        load_handler("teams_module:Worker")(CTX)


def test_a_tasks_log_is_named_after_its_type() -> None:
    assert CTX.log.name == "callboard.task.work"
