"""A form fills in tasks exactly as they are built and shown one by one."""

import json
from typing import Any

import pytest

from callboard.actors.errors import InvalidOption
from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.submitting import new_task, task_shown
from callboard.actors.task_form import TaskForm
from callboard.conf.settings import QueueSettings

NOW = 1_769_850_900_250_000  # 2026-01-31T09:15:00.250Z
SETTINGS = QueueSettings.model_validate({"worker": "shop:Pack", "types": {'Send "ä"': "shop:send"}, "max_retries": 5})
DEFAULTS: dict[str, Any] = {
    "type": None,
    "priority": None,
    "max_retries": None,
    "backoff": None,
    "timeout_ms": None,
    "created_by": "test",
}


def form(**options: Any) -> TaskForm:
    return TaskForm("shop", SETTINGS, **(DEFAULTS | options))


@pytest.mark.parametrize(
    ("options", "run_at"),
    [
        ({}, 0),  # at once
        ({}, NOW + 60_000_000),  # scheduled
        ({}, NOW - 1),  # due already
        ({"priority": 1, "max_retries": 0}, 0),  # a priority with a name
        ({"priority": -7, "timeout_ms": 5}, 0),  # one without
        ({"type": 'Send "ä"', "created_by": "\\ud800"}, 0),  # texts that need escapes
        ({"backoff": Backoff(BackoffStrategy.EXPONENTIAL, 1, 3.5, 10, 0.25)}, 0),  # its own backoff
    ],
)
@pytest.mark.parametrize("context", ["{}", '{"a":[1,{"id":"x"}]}'])
def test_a_task_of_a_form_is_the_task_that_is_built_alone(options: dict[str, Any], run_at: int, context: str) -> None:
    alone = new_task("shop", SETTINGS, context_json=context, run_at=run_at, now=NOW, **(DEFAULTS | options))
    dated = form(**options).dated(NOW, run_at)
    task = dated.task(context)
    assert task._replace(id=alone.id) == alone
    text = dated.text(alone.id, context)
    assert text == json.dumps(task_shown(alone, "shop"), separators=(",", ":"))


def test_every_task_has_an_id_of_its_own() -> None:
    dated = form().dated(NOW, 0)
    ids = [dated.task("{}").id for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)


def test_what_a_queue_does_not_take_is_refused_when_the_form_is_made() -> None:
    with pytest.raises(InvalidOption, match="unknown type"):
        form(type="Pck")
    with pytest.raises(InvalidOption, match="1970 to 9999"):
        form().dated(NOW, -1)
