"""Where a request's options meet its queue's defaults."""

import json
from typing import Any

import pytest

from callboard.actors.errors import InvalidOption
from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.submitting import context_text, nearest, new_task, resolve_type, task_shown
from callboard.actors.task import NewTask, TaskState
from callboard.conf.settings import QueueSettings

NOW = 1_769_850_900_250_000  # 2026-01-31T09:15:00.250Z
SETTINGS = QueueSettings.model_validate(
    {"worker": "shop:Pack", "types": {"Send": "shop:send"}, "max_retries": 5, "priority": 1, "timeout": "90s"}
)


def make(settings: QueueSettings = SETTINGS, **options: Any) -> NewTask:
    asked: dict[str, Any] = {
        "type": None, "context_json": "{}", "priority": None, "max_retries": None, "backoff": None,
        "timeout_ms": None, "run_at": 0, "created_by": "test", "now": NOW,
    }  # fmt: skip
    return new_task("shop", settings, **asked | options)


def test_what_is_not_asked_for_is_the_queues_default() -> None:
    task = make()
    assert (task.type, task.priority, task.max_retries, task.timeout_ms) == ("shop:Pack", 1, 5, 90_000)
    assert json.loads(task.backoff) == Backoff().to_json()
    assert (task.run_at, task.created_at, task.created_by, task.meta) == (0, NOW, "test", "{}")


def test_what_is_asked_for_wins_even_where_it_is_zero() -> None:
    backoff = Backoff(BackoffStrategy.LINEAR, 5)
    task = make(type="Send", priority=0, max_retries=0, timeout_ms=1, run_at=NOW + 1, backoff=backoff)
    assert (task.type, task.priority, task.max_retries, task.timeout_ms) == ("Send", 0, 0, 1)
    assert task.run_at == NOW + 1
    assert json.loads(task.backoff)["strategy"] == "linear"


def test_ids_rise_and_are_never_the_same() -> None:
    ids = [make().id for _ in range(1_000)]
    assert ids == sorted(set(ids))


OUT_OF_RANGE = [
    # option, value just outside of what it takes
    ("max_retries", -1),
    ("max_retries", 100),
    ("priority", 2**53),
    ("priority", -(2**53)),
    ("timeout_ms", 0),
    ("run_at", -1),
    ("run_at", 10**18),
]


@pytest.mark.parametrize(("option", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_under_its_options_name(option: str, value: int) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidOption, match="must be") as refused:
        make(**options)
    assert refused.value.field == option


def test_an_unknown_type_is_answered_with_the_nearest_whatever_its_case() -> None:
    with pytest.raises(InvalidOption, match="did you mean Send") as refused:
        make(type="send")
    assert refused.value.field == "type"
    with pytest.raises(InvalidOption, match="known are shop:Pack, Send"):
        make(type="xyz")


@pytest.mark.parametrize("blank", [None, ""])
def test_a_queue_with_types_alone_needs_one(blank: str | None) -> None:
    settings = QueueSettings.model_validate({"types": {"A": "m:a", "B": "m:b"}})
    assert resolve_type(settings, "B") == "B"
    with pytest.raises(InvalidOption, match="can't be blank: the queue has the types A, B"):
        resolve_type(settings, blank)


def test_a_blank_type_is_one_that_is_not_given() -> None:
    assert resolve_type(QueueSettings(worker="m:a"), "") == "m:a"
    assert resolve_type(QueueSettings(), "") == ""


def test_a_queue_without_workers_takes_any_type() -> None:
    assert resolve_type(QueueSettings(), "whatever") == "whatever"
    assert resolve_type(QueueSettings(), None) == ""


@pytest.mark.parametrize("odd", ["\ud800", "\x00"])
def test_a_type_must_be_text_that_every_store_can_hold(odd: str) -> None:
    with pytest.raises(InvalidOption, match="must be text without U\\+0000 and lone surrogates") as refused:
        resolve_type(QueueSettings(), odd)
    assert refused.value.field == "type"


def test_nearest_says_so_when_there_is_nothing() -> None:
    assert nearest("a", []) == "there are none"


NO_CONTEXTS = [
    # value, what is said
    ([1], "must be an object"),
    ("{}", "must be an object"),
    ({"a": float("nan")}, "can't be written as JSON"),
    ({"a": {1}}, "can't be written as JSON"),
]


@pytest.mark.parametrize(("value", "said"), NO_CONTEXTS)
def test_a_context_that_is_no_json_object_is_refused(value: Any, said: str) -> None:
    with pytest.raises(InvalidOption, match=said) as refused:
        context_text(value)
    assert refused.value.field == "context"


def test_a_context_of_endless_depth_is_refused() -> None:
    deep: dict[str, Any] = {}
    deep["self"] = deep
    with pytest.raises(InvalidOption, match="can't be written as JSON"):
        context_text(deep)


def test_big_integers_and_lone_surrogates_survive_in_a_context() -> None:
    context = {"big": 2**200, "odd": "\ud800", "ü": None}
    text = context_text(context)
    assert json.loads(text.encode("utf-8")) == context


def test_a_task_is_shown_as_it_will_be_when_it_is_read_back() -> None:
    shown = task_shown(make(context_json='{"a":1}'), "shop")
    assert shown | {"id": ""} == {
        "id": "", "queue": "shop", "type": "shop:Pack", "state": "available", "priority": "high", "context": {"a": 1},
        "attempt": 0, "max_retries": 5, "backoff": Backoff().to_json(), "backoff_ms": 1_000, "timeout_ms": 90_000,
        "run_at": "2026-01-31T09:15:00.250Z", "created_at": "2026-01-31T09:15:00.250Z", "created_by": "test",
        "started_at": None, "finished_at": None, "errors": [], "result": None, "meta": {}, "logs": [],
    }  # fmt: skip


def test_a_task_for_later_is_shown_as_scheduled() -> None:
    shown = task_shown(make(run_at=NOW + 2_000_000), "shop")
    assert (shown["state"], shown["run_at"]) == (TaskState.SCHEDULED, "2026-01-31T09:15:02.250Z")
