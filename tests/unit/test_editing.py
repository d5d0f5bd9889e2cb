"""Tasks that wait can be changed and moved; others, and those that are with a worker, not."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.editing import edit
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import EditTask, TaskMoved, TasksChanged
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.task import WAITING_STATES
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import NO_BACKOFF, new_task
from tests.support.stages import Stage

SECOND = 1_000_000


@pytest.fixture(params=["off", "10s"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A queue whose one worker is busy, strict and with aging."""
    settings = QueueSettings.model_validate({"worker": "tests:work", "concurrency": 1, "aging": request.param})
    stage = Stage(tmp_path, settings=settings)
    stage.staff()
    stage.begin(new_task("busy"))
    yield stage
    stage.close()


def change(stage: Stage, task_id: str, **changes: Any) -> TasksChanged:
    stage.commands.reclaim(task_id, stage.now)
    reply = edit(stage.owner, EditTask("r", "mail", 1, task_id, **changes), "registry", stage.now)
    stage.turn()
    return reply


def done(task_id: str) -> TasksChanged:
    return TasksChanged("r", (task_id,), {})


def order(stage: Stage) -> list[str]:
    """Let the worker do everything, and return the tasks in the order in which they went."""
    before = sum(len(run.tasks) for run in stage.sent)
    while stage.worker.run:
        stage.do_all(stage.worker)
    return [task.id for run in stage.sent for task in run.tasks][before:]


def test_another_priority_puts_a_task_where_it_would_stand_if_it_had_come_with_it(stage: Stage) -> None:
    for name, priority in (("a", 0), ("b", 1), ("c", 0), ("d", 1)):
        stage.submit(new_task(name, priority=priority))
    assert change(stage, "c", priority=1) == done("c")
    assert stage.task("c").priority == 1
    assert order(stage) == ["b", "c", "d", "a"]


def test_the_order_is_the_same_for_a_new_owner(stage: Stage) -> None:
    for name, priority in (("a", 0), ("b", 1), ("c", 0)):
        stage.submit(new_task(name, priority=priority))
    change(stage, "c", priority=1)
    change(stage, "b", priority=-1)
    stage.restart()
    stage.staff()
    stage.do_all(stage.worker)
    assert [task.id for run in stage.sent for task in run.tasks if task.id != "busy"] == ["c", "a", "b"]


def test_a_task_that_is_ready_can_be_put_off_and_one_that_waits_be_had_at_once(stage: Stage) -> None:
    stage.submit(new_task("ready"))
    stage.submit(new_task("later", run_at=stage.wall + 900 * SECOND))
    assert change(stage, "ready", run_at=stage.wall + 60 * SECOND) == done("ready")
    assert change(stage, "later", run_at=stage.wall) == done("later")
    assert (stage.task("ready").state, stage.task("later").state) == ("scheduled", "available")
    assert order(stage) == ["later"]
    stage.wait(61)
    stage.turn()
    assert stage.sent[-1].tasks[0].id == "ready"


def test_a_past_time_leaves_a_ready_task_where_it_is(stage: Stage) -> None:
    stage.submit(new_task("a"))
    stage.submit(new_task("b"))
    assert change(stage, "a", run_at=1) == done("a")
    assert order(stage) == ["a", "b"]


def test_a_retry_can_be_had_earlier_and_keeps_its_count(stage: Stage) -> None:
    stage.worker.fail(stage.wall)
    stage.ring(stage.worker)
    assert stage.task("busy").state == "retryable"
    change(stage, "busy", run_at=stage.wall + 10 * SECOND)
    assert (stage.task("busy").state, stage.task("busy").run_at) == ("retryable", stage.wall + 10 * SECOND)
    change(stage, "busy", run_at=stage.wall)
    assert (stage.task("busy").attempt, stage.sent[-1].tasks[0].attempt) == (2, 2)  # handed out again at once


def test_a_running_or_ended_or_unknown_task_is_not_changed(stage: Stage) -> None:
    stage.submit(new_task("gone"))
    stage.commands.cancel("c", ("gone",), "somebody", stage.now)
    states = {"busy": "executing", "gone": "cancelled", "nobody": ""}
    for task_id, state in states.items():
        assert change(stage, task_id, priority=5) == TasksChanged("r", (), {task_id: state})
    assert stage.task("busy").priority == 0


def test_a_task_that_its_worker_has_not_begun_is_taken_back_for_it(stage: Stage) -> None:
    stage.do_all(stage.worker)
    stage.owner.run_times.ran("work", 1.0)
    tasks = [new_task(name) for name in "abc"]
    stage.submit(*tasks)
    assert len(stage.worker.run.tasks if stage.worker.run else ()) == 3
    assert change(stage, "c", priority=1) == done("c")
    assert stage.task("c").priority == 1


@pytest.mark.parametrize("state", ["available", "scheduled", "retryable"])
def test_a_moved_task_waits_in_the_other_queue_and_is_counted_there(stage: Stage, state: str) -> None:
    stage.store.put_queue("other", stage.owner.settings.model_dump_json(), "", stage.wall)
    due = stage.wall + 5 * SECOND
    task_id = "busy" if state == "retryable" else "a"
    if state == "retryable":
        stage.worker.fail(stage.wall)
        stage.ring(stage.worker)
        due = stage.task("busy").run_at
    else:
        stage.submit(new_task("a", run_at=due if state == "scheduled" else 0, backoff=NO_BACKOFF))
    assert change(stage, task_id, to_queue="other", priority=3) == done(task_id)
    moved = stage.task(task_id)
    waits = "scheduled" if state == "available" else state
    assert (moved.queue, moved.state, moved.priority) == ("other", waits, 3)
    assert moved.run_at == (stage.wall if state == "available" else due)
    counts = stage.store.counts()
    assert (counts["other"][moved.state], sum(counts["other"].values())) == (1, 1)
    assert sum(counts["mail"][waiting] for waiting in WAITING_STATES) == 0
    assert ("registry", TaskMoved("other", stage.wall if state != "available" else moved.run_at)) in stage.replies
    owned, ownership = stage.store.own("other")
    other = QueueOwner("other", owned, ownership, stage.owner.settings, rng=random.Random(), now=stage.now)
    stage.wait(6)
    other.turn(stage.now)
    assert (stage.task(task_id).state, len(other.window)) == ("available", 1)


def test_a_task_can_not_be_moved_to_a_queue_that_is_gone(stage: Stage) -> None:
    stage.submit(new_task("a"))
    assert change(stage, "a", to_queue="nowhere") == TasksChanged("r", (), {"a": "available"})
    assert (stage.task("a").queue, order(stage)) == ("mail", ["a"])


@pytest.mark.parametrize("changes", [{"priority": 9}, {"to_queue": "other"}])
def test_what_can_not_be_stored_has_not_been_done(stage: Stage, changes: dict[str, Any]) -> None:
    stage.store.put_queue("other", "{}", "", stage.wall)
    stage.submit(new_task("a"))
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        change(stage, "a", **changes)
    stage.owned.breakage = Breakage.NONE
    stage.turn()
    assert (stage.task("a").priority, stage.task("a").queue, order(stage)) == (0, "mail", ["a"])
