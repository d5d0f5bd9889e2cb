"""What Python programs ask for, and how it is sent."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callboard.actors.errors import InvalidOption
from callboard.actors.options import Backoff
from callboard.actors.request import TaskRequest, changes_body, milliseconds


def test_a_request_sends_only_what_was_asked_for() -> None:
    assert TaskRequest(queue="q").to_body() == {"queue": "q"}
    whole = TaskRequest(
        queue="q", context={"a": 1}, type="T", priority="high", max_retries=0, backoff=Backoff(base_ms=5), timeout="1m",
        run_at=datetime(2026, 1, 31, 9, 15, tzinfo=UTC),
    )  # fmt: skip
    assert whole.to_body() == {
        "queue": "q",
        "context": {"a": 1},
        "type": "T",
        "options": {
            "priority": "high",
            "max_retries": 0,
            "backoff": {"strategy": "fixed", "base_ms": 5, "factor": 2.0, "cap_ms": 3_600_000, "jitter": 0.0},
            "timeout_ms": 60_000,
            "run_at": "2026-01-31T09:15:00+00:00",
        },
    }
    assert TaskRequest(queue="q", delay=0.25, backoff_ms=0).to_body()["options"] == {"delay_ms": 250, "backoff_ms": 0}


def test_attempts_are_another_spelling_of_retries() -> None:
    assert TaskRequest(queue="q", max_attempts=1).to_body()["options"] == {"max_retries": 0}
    assert TaskRequest(queue="q", max_attempts=3, max_retries=2).to_body()["options"] == {"max_retries": 2}


def test_a_moment_and_a_backoff_may_be_written_as_in_http() -> None:
    request = TaskRequest(queue="q", run_at="2030-01-01T00:00:00Z", backoff={"strategy": "linear", "cap_ms": None})
    assert request.to_body()["options"] == {"run_at": "2030-01-01T00:00:00+00:00", "backoff": {"strategy": "linear"}}
    assert changes_body({"run_at": "2030-01-01T00:00:00Z"}) == {"run_at": "2030-01-01T00:00:00+00:00"}


BAD_CHANGES: list[tuple[Any, str]] = [
    ({"run_at": "soon"}, "run_at"),
    ({"priority": []}, "priority"),
    ({"queue": 5}, "queue"),
]


@pytest.mark.parametrize(("changes", "field"), BAD_CHANGES)
def test_a_mistake_in_a_change_is_named(changes: Any, field: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        changes_body(changes)
    assert refused.value.field == field


DURATIONS = [
    # as written, milliseconds
    ("1m30s", 90_000),
    (5, 5_000),
    (0, 0),
    (0.0015, 2),
    (timedelta(hours=1), 3_600_000),
]


@pytest.mark.parametrize(("written", "expected"), DURATIONS)
def test_a_duration_may_be_a_text_seconds_or_a_timedelta(written: Any, expected: int) -> None:
    assert milliseconds(written, "delay") == expected


@pytest.mark.parametrize("written", [-1, "5", True, float("inf"), float("nan"), None, timedelta(seconds=-1), 1e12])
def test_what_is_no_duration_is_refused_under_its_options_name(written: Any) -> None:
    with pytest.raises(InvalidOption) as refused:
        milliseconds(written, "delay")
    assert refused.value.field == "delay"


BAD = [
    # mapping, field that is blamed, what is said
    ({"queue": "q", "max_retrys": 1}, "max_retrys", "did you mean max_retries?"),
    ({"queue": "q", "xyz": 1}, "xyz", "known are queue, context, type"),
    ({"context": {}}, "queue", "can't be blank"),
    ({"queue": "q", "delay": 1, "run_at": datetime.now(UTC)}, "run_at", "not both"),
    ({"queue": "q", "backoff": Backoff(), "backoff_ms": 1}, "backoff_ms", "not both"),
    ({"queue": 5}, "queue", "must be a text"),
    ({"queue": ""}, "queue", "can't be blank"),
    ({"queue": "\ud800"}, "queue", "half a surrogate pair"),
    ({"queue": "q", "context": [1]}, "context", "must be an object"),
    ({"queue": "q", "type": 5}, "type", "must be a text"),
    ({"queue": "q", "priority": []}, "priority", "an integer"),
    ({"queue": "q", "max_retries": object()}, "max_retries", "must be an integer"),
    ({"queue": "q", "run_at": "soon"}, "run_at", 'a text such as "2026'),
    ({"queue": "q", "run_at": 5}, "run_at", "must be a datetime"),
    ({"queue": "q", "run_at": "2030-01-01T00:00:00"}, "run_at", "needs its offset"),
    ({"queue": "q", "backoff": "5s"}, "backoff", "must be a Backoff or a mapping"),
    ({"queue": "q", "backoff": {"base": 5}}, "backoff.base", "known are strategy, base_ms"),
    ({"queue": "q", "backoff": {"strategy": "wild"}}, "backoff.strategy", "must be one of none, fixed"),
    ({"queue": "q", "backoff": {"strategy": []}}, "backoff.strategy", "must be one of none, fixed"),
    ({"queue": "q", "backoff": {"base_ms": "5"}}, "backoff.base_ms", "must be an integer"),
    ({"queue": "q", "backoff": Backoff(factor="2")}, "backoff.factor", "must be a number"),  # type: ignore[arg-type]
    ({"queue": "q", "max_attempts": 3, "max_retries": 3}, "max_attempts", "must be max_retries + 1"),
    ({"queue": "q", "max_attempts": 0}, "max_attempts", "from 1 to 100"),
    ({"queue": "q", "max_attempts": 101}, "max_attempts", "from 1 to 100"),
    ({"queue": "q", "max_attempts": True}, "max_attempts", "must be an integer"),
    ({"queue": "q", "run_at": datetime(2026, 1, 1)}, "run_at", "needs its offset"),  # noqa: DTZ001 - the point
]


@pytest.mark.parametrize(("mapping", "field", "said"), BAD)
def test_a_mistake_in_a_mapping_is_named(mapping: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(said)) as refused:
        TaskRequest.of(mapping)
    assert refused.value.field == field


def test_what_is_neither_request_nor_mapping_is_refused() -> None:
    with pytest.raises(InvalidOption, match="a TaskRequest or a mapping"):
        TaskRequest.of(["q"])  # type: ignore[arg-type]
    request = TaskRequest(queue="q")
    assert TaskRequest.of(request) is request
