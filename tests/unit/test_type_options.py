"""The options that stand with a handler: what they may say, and how a queue learns of them."""

from typing import Any

import pytest

from callboard.actors import Worker, task
from callboard.actors.errors import InvalidOption
from callboard.actors.handler_loading import handler_of
from callboard.actors.submitting import new_task, resolve_type
from callboard.conf.learning import learned_of
from callboard.conf.queue_settings import QueueSettings
from callboard.conf.type_defaults import read_type_defaults
from callboard.conf.worker_paths import taught_by_looking


class Parent(Worker, max_attempts=20, timeout="5m", name="parent"):
    def perform(self, task: Any) -> None:
        """Do nothing."""


class Child(Parent, max_retries=2):
    """Has its parent's timeout, and a name of its own."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_atempts": 3}, "max_atempts: unknown option, did you mean max_attempts?"),
        ({"max_attempts": 101}, "max_attempts: must be an integer from 1 to 100"),
        ({"max_attempts": 0}, "max_attempts: must be an integer from 1 to 100"),
        ({"max_attempts": True}, "max_attempts: must be an integer from 1 to 100"),
        ({"max_attempts": 3, "max_retries": 3}, "max_attempts: must be max_retries \\+ 1"),
        ({"max_retries": 100}, "max_retries: must be less than or equal to 99"),
        ({"timeout": 5}, "timeout: 5 is not a duration"),
        ({"priority": "urgent"}, 'priority: must be "low"'),
        ({"backoff": {"bass": "1s"}}, "backoff.bass: unknown option, did you mean base?"),
    ],
)
def test_a_wrong_option_is_found_where_it_is_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        task(**options)
    with pytest.raises(InvalidOption, match=said):
        type("Wrong", (Worker,), {}, **options)


def test_options_are_inherited_but_for_the_name() -> None:
    assert handler_of(Parent).options == {"max_retries": 19, "timeout": "5m", "name": "parent"}
    assert handler_of(Child).options == {"max_retries": 2, "timeout": "5m"}
    assert handler_of(lambda _context: None).options == {}


def settings_with(options: dict[str, dict[str, Any]], **values: Any) -> QueueSettings:
    settings = QueueSettings.model_validate({"max_retries": 1, "timeout": "7s", **values})
    return settings.with_learned(learned_of(settings, options))


def made(settings: QueueSettings, **values: Any) -> Any:
    nothing: dict[str, Any] = dict.fromkeys(["type", "priority", "max_retries", "backoff", "timeout_ms"])
    return new_task("q", settings, context_json="{}", run_at=0, created_by="t", now=0, **{**nothing, **values})


def test_what_a_handler_says_goes_over_the_queue_and_under_the_task() -> None:
    settings = settings_with({"a:b": {"max_retries": 5}, "a:c": {"timeout": "9s"}}, worker="a:b", types={"c": "a:c"})
    default, other = made(settings), made(settings, type="c")
    assert (default.type, default.max_retries, default.timeout_ms) == ("a:b", 5, 7_000)
    assert (other.type, other.max_retries, other.timeout_ms) == ("c", 1, 9_000)
    assert made(settings, max_retries=0).max_retries == 0


def test_a_name_stands_for_the_queues_own_worker_only() -> None:
    settings = settings_with({"a:b": {"name": "resize"}, "a:c": {"name": "crop"}}, worker="a:b", types={"c": "a:c"})
    assert (settings.default_type, resolve_type(settings, None)) == ("resize", "resize")
    assert resolve_type(settings, "a:b") == "a:b"  # as tasks were stored before it had a name
    assert resolve_type(settings, "c") == "c"
    with pytest.raises(InvalidOption, match="unknown type 'crop'"):
        resolve_type(settings, "crop")
    taken = settings_with({"a:b": {"name": "c"}, "a:c": {}}, worker="a:b", types={"c": "a:c"})
    assert (taken.default_type, taken.learned["a:b"].name) == ("a:b", "")


def test_a_queue_knows_what_it_has_still_to_learn() -> None:
    assert not QueueSettings().unlearned
    assert not QueueSettings(command=("true",)).unlearned
    assert QueueSettings(worker="a:b").unlearned
    assert not settings_with({"a:b": {}}, worker="a:b").unlearned


def test_changed_settings_keep_what_was_learned_of_handlers_that_stay() -> None:
    before = settings_with({"a:b": {"max_retries": 5, "name": "n"}, "a:c": {}}, worker="a:b", types={"c": "a:c", "x": "a:c"})
    after = QueueSettings.model_validate({"worker": "a:b", "types": {"c": "other:c"}, "concurrency": 9}).taught_by(before)
    assert set(after.learned) == {"a:b", "n"}
    assert after.unlearned
    assert QueueSettings(worker="other:b").taught_by(before).learned == {}
    assert QueueSettings.model_validate_json(before.model_dump_json()) == before


def test_what_workers_say_can_be_looked_up_before_any_of_them_runs() -> None:
    settings = QueueSettings(worker="tests.seeds.job_queue_tasks:tell", types={"x": ("true",)})
    assert taught_by_looking(settings).learned["tell"].max_retries == 6


def test_both_spellings_of_the_budget_agree() -> None:
    assert read_type_defaults({"max_attempts": 4, "max_retries": 3}).max_retries == 3
    assert read_type_defaults({}).max_retries is None
