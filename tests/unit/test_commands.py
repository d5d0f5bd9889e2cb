"""Retry and purge, as people ask for them, on one owner's tasks."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import commands
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import DeadPurged, TasksChanged
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import NO_BACKOFF, new_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.staff()
    yield stage
    stage.close()


def retry(stage: Stage, *tasks: NewTask, keep_attempts: bool = False) -> TasksChanged:
    ids = tuple(task.id for task in tasks)
    changed = stage.commands.retry("r", ids, stage.now, keep_attempts=keep_attempts)
    stage.turn()
    return changed


# ---------------------------------------------------------------- retry


def test_a_dead_task_is_retried_with_a_fresh_budget(stage: Stage) -> None:
    (task,) = stage.let_die()
    assert retry(stage, task) == TasksChanged("r", (task.id,), {})
    assert [run.attempt for run in stage.sent[-1].tasks] == [1]
    stage.do_all(stage.worker)
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, len(stored.errors)) == ("completed", 1, 1)


def test_attempts_can_be_kept_when_a_task_is_retried(stage: Stage) -> None:
    (task,) = stage.let_die()
    retry(stage, task, keep_attempts=True)
    assert [run.attempt for run in stage.sent[-1].tasks] == [2]


def test_a_retried_task_joins_the_back_of_its_priority(stage: Stage) -> None:
    (task,) = stage.let_die()
    first, second = new_task(), new_task()
    stage.submit(first, second)
    retry(stage, task)
    while stage.worker.run:
        stage.do_all(stage.worker)
    assert [run.id for batch in stage.sent for run in batch.tasks] == [task.id, first.id, second.id, task.id]


def test_a_task_that_has_not_ended_is_not_retried(stage: Stage) -> None:
    stage.submit(new_task())
    stage.do_all(stage.worker)
    running, claimed = new_task(backoff=NO_BACKOFF), new_task()
    stage.begin(running, claimed)
    changed = retry(stage, running, claimed)
    assert changed.changed == ()
    assert set(changed.unchanged) == {running.id, claimed.id}
    assert "claimed" not in changed.unchanged.values()


def test_a_retry_that_can_not_be_stored_changes_nothing(stage: Stage) -> None:
    (task,) = stage.let_die()
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        retry(stage, task)
    stage.owned.breakage = Breakage.NONE
    stage.wait(1)
    stage.turn()
    assert stage.states(task) == ["dead"]
    retry(stage, task)
    stage.do_all(stage.worker)
    assert stage.states(task) == ["completed"]


# ---------------------------------------------------------------- purge


def test_dead_tasks_are_purged_by_id_and_others_are_left_alone(stage: Stage) -> None:
    first, second = stage.let_die(2)
    done = new_task()
    stage.submit(done)
    stage.do_all(stage.worker)
    assert stage.commands.purge("r", (first.id, done.id), stage.now) == DeadPurged("r", 1, more=False)
    assert stage.store.get(first.id) is None
    assert stage.states(second, done) == ["dead", "completed"]


def test_all_dead_tasks_are_purged_in_many_small_transactions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.let_die(5)
    stage.mono = time.monotonic()
    monkeypatch.setattr(commands, "_PURGE_AT_ONCE", 2)
    commits = stage.owned.commits
    assert stage.commands.purge("r", None, stage.now) == DeadPurged("r", 5, more=False)
    assert stage.owned.commits == commits + 3


def test_all_dead_tasks_are_purged_after_the_clock_was_set_back(stage: Stage) -> None:
    (task,) = stage.let_die()
    stage.mono = time.monotonic()
    stage.wall -= 3_600_000_000
    assert stage.commands.purge("r", None, stage.now) == DeadPurged("r", 1, more=False)
    assert stage.store.get(task.id) is None


def test_a_long_purge_stops_after_a_while_and_says_that_there_is_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.let_die(3)
    stage.mono = time.monotonic()
    monkeypatch.setattr(commands, "_PURGE_AT_ONCE", 1)
    monkeypatch.setattr(commands, "_PURGE_SECONDS", 0.0)
    assert stage.commands.purge("r", None, stage.now).more
