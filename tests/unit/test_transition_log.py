"""One line for every change of a task's state, for those who want to read them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import new_task
from tests.support.stages import Stage

LOGGER = "callboard.actors.transition_log"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "run", settings=QueueSettings(worker="tests:work", concurrency=1))
    yield stage
    stage.close()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    found = [vars(record) for record in caplog.records if record.name == LOGGER]
    return [(entry["task"], entry["queue"], entry["was"], entry["state"], entry["attempt"]) for entry in found]


def test_every_transition_is_told_with_task_queue_and_attempt(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    task = new_task()
    stage.submit(task)
    stage.staff()
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.fail(stage.wall)
    stage.ring(worker)
    stage.wait(2)
    stage.turn()
    stage.do_all(worker)
    assert told(caplog) == [
        (task.id, "mail", "new", "available", 0),
        (task.id, "mail", "available", "executing", 1),
        (task.id, "mail", "executing", "retryable", 1),
        (task.id, "mail", "waiting", "available", 1),
        (task.id, "mail", "available", "executing", 2),
        (task.id, "mail", "executing", "completed", 2),
    ]


def test_nothing_is_told_where_debug_is_off(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    stage.submit(new_task())
    stage.staff()
    stage.do_all(stage.worker)
    assert told(caplog) == []
