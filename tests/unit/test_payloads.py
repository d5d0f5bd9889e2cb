"""Handlers that declare their contexts get only what fits, as the model; the others get whatever comes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from callboard.actors.handler_loading import load_handler
from callboard.actors.handlers import TaskContext
from callboard.actors.payloads import InvalidContext, declared_model
from callboard.actors.sample_contexts import KNOWN

HERE = "tests.unit.test_payloads"


class Address(BaseModel):
    city: str


class Parcel(BaseModel):
    weight: int
    to: Address


class Declared:
    Context = Parcel

    def perform(self, task: TaskContext) -> Any:
        return task.payload.to.city, task.context


class Plain:
    Context = "a text of their own"

    def perform(self, task: TaskContext) -> Any:
        return task.payload, task.context


def annotated(parcel: Parcel) -> Any:
    return parcel.weight


def annotated_with_ctx(parcel: Parcel, ctx: TaskContext) -> Any:
    return parcel.weight, ctx.context


def dated(context: dict[str, Any]) -> Any:
    return context


def unreadable(context: "NoSuchClass") -> Any:  # type: ignore[name-defined]  # noqa: F821
    return context


GOOD = {"weight": 3, "to": {"city": "Oslo"}, "more": 1}


def ctx(context: dict[str, Any]) -> TaskContext:
    return TaskContext("id", "mail", "Send", context, 1, 3, 0.0, Path(), "")


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("Declared", ("Oslo", GOOD)),
        ("Plain", (None, GOOD)),
        ("annotated", 3),
        ("annotated_with_ctx", (3, GOOD)),
        ("dated", GOOD),
        ("unreadable", GOOD),
    ],
)
def test_what_fits_is_given_as_the_model_that_was_declared(name: str, result: Any) -> None:
    assert load_handler(f"{HERE}:{name}")(ctx(GOOD)) == result


@pytest.mark.parametrize("name", ["Declared", "annotated", "annotated_with_ctx"])
def test_what_does_not_fit_is_refused_with_type_and_fields(name: str) -> None:
    with pytest.raises(InvalidContext) as refused:
        load_handler(f"{HERE}:{name}")(ctx({"to": {}}))
    assert str(refused.value) == "Send: weight can't be blank; to.city can't be blank"


@pytest.mark.parametrize("target", [Plain, dated, unreadable, len, print, 5])
def test_others_declare_nothing(target: Callable[..., Any]) -> None:
    assert declared_model(target) is None


def test_the_models_that_the_server_knows_are_those_that_the_samples_declare() -> None:
    for path, model in KNOWN.items():
        module, _, name = path.partition(":")
        assert declared_model(getattr(__import__(module, fromlist=[name]), name)) is model
