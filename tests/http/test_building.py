"""Tasks are built from forms that are remembered; the quick ways of reading and writing JSON are the slow ones' equals."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callboard.actors.errors import InvalidOption
from callboard.actors.messages import QueueFound
from callboard.actors.submitting import context_text
from callboard.conf.settings import QueueSettings
from callboard.http import building
from callboard.http.building import Forms, received_context_text
from callboard.http.problems import Problem
from callboard.http.schemas import TaskRequest
from callboard.http.validation import parse_json
from tests.http.played_caller import found

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)
SNIPPETS = st.sampled_from(
    [
        *'{}[]":,-+.eE\\ \t0123456789',
        "\\u00",
        "\\ud83d",
        "d8",
        "NaN",
        "Infinity",
        "1e999",
        "null",
        "true",
        "\x00",
        "ä",
        "\x7f",
    ]
)


def other(found: QueueFound, settings: QueueSettings) -> QueueFound:
    return QueueFound("", found.queue, None, 1, 1.0, 1, settings, 2)


def wanted(**body: Any) -> TaskRequest:
    return TaskRequest.model_validate({"queue": "q", **body})


def same(one: Any, two: Any) -> bool:
    """Compare with types, order of keys and sign of zero, which `==` does not look at."""
    return repr(one) == repr(two)


@settings(deadline=None, database=None, derandomize=True)
@given(st.dictionaries(st.text(), JSON))
@example({"big": 2**200, "small": -(2**70), "tiny": 5e-324, "large": 1e22, "zero": -0.0})
@example({"\ud800": "\udfff \x7f \x00 \u2028"})
def test_a_context_that_is_written_quickly_says_what_the_slow_way_says(context: dict[str, Any]) -> None:
    text = received_context_text(context)
    assert text.isascii()
    assert same(json.loads(text), json.loads(context_text(context)))


def test_a_context_is_refused_for_an_infinity_but_not_for_the_word() -> None:
    with pytest.raises(InvalidOption, match="can't be written as JSON"):
        received_context_text({"a": [math.inf]})
    assert received_context_text({"Infinity": "-Infinity"}) == '{"Infinity":"-Infinity"}'


def test_a_context_may_be_deep() -> None:
    context: dict[str, Any] = {}
    for _ in range(400):
        context = {"a": context}
    assert json.loads(received_context_text(context)) == context


@settings(deadline=None, database=None, derandomize=True, max_examples=300)
@given(
    st.one_of(
        st.lists(SNIPPETS, max_size=12).map("".join), JSON.map(json.dumps), JSON.map(lambda value: json.dumps(value)[:-1])
    )
)
@example('{"a":1,"b":2,"a":3}')
@example("[-0, -0.0, 1E400, 1e-400, 1.0e+5, 123456789012345678901234567890.5]")
@example('["\\ud800", "\\ud83d\\ude00", "\\/"]')
def test_what_is_read_quickly_is_what_is_read_slowly(text: str) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        expected = json.loads(text.encode(), parse_constant=refuse)
    except ValueError:
        with pytest.raises(Problem, match="is not JSON"):
            parse_json(text.encode())
    else:
        assert same(parse_json(text.encode()), expected)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_json_may_come_in_any_of_its_encodings(encoding: str) -> None:
    assert parse_json('{"ä": 1}'.encode(encoding)) == {"ä": 1}


def test_a_form_is_remembered_until_the_settings_change() -> None:
    forms, queue = Forms(), found()
    first = forms.build(queue, [wanted(options={"priority": 3})]).tasks[0]
    again = forms.build(queue, [wanted(options={"priority": 3, "delay_ms": 5})]).tasks[0]
    assert (first.priority, again.priority) == (3, 3)
    assert (first.run_at, again.run_at) == (0, again.created_at + 5_000)
    changed = other(queue, QueueSettings(worker="c:d", max_retries=9))
    after = forms.build(changed, [wanted(options={"priority": 3})]).tasks[0]
    assert (after.type, after.max_retries) == ("c:d", 9)


def test_tasks_that_differ_in_one_option_do_not_share_a_form() -> None:
    options: list[dict[str, Any] | None] = [
        None,
        {},
        {"priority": 1},
        {"max_retries": 1},
        {"max_attempts": 1},
        {"backoff_ms": 1},
        {"backoff": {"base_ms": 2}},
        {"backoff": {"base_ms": 2, "jitter": 1}},
        {"timeout_ms": 1},
    ]
    part = Forms().build(found(), [wanted(options=one) for one in options * 2])
    alone = [Forms().build(found(), [wanted(options=one)]).tasks[0] for one in options * 2]
    assert [task[3:7] for task in part.tasks] == [task[3:7] for task in alone]
    for task, text in zip(part.tasks, part.texts(), strict=True):
        shown = json.loads(text)
        assert (shown["id"], shown["max_retries"], shown["backoff"]) == (task.id, task.max_retries, json.loads(task.backoff))


def test_the_number_of_forms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "MAX_FORMS", 10)
    forms = Forms()
    part = forms.build(found(), [wanted(options={"priority": number}) for number in range(100)])
    assert [task.priority for task in part.tasks] == list(range(100))
    assert len(forms._forms) <= 10
