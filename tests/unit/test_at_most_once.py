"""Under at-most-once delivery a run of which nobody knows the end is the last one; known ends are retried as ever."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.crew import Doom
from callboard.conf.queue_settings import Delivery
from callboard.conf.settings import QueueSettings
from tests.support.consumers import fetch, say
from tests.support.made_tasks import NO_BACKOFF, new_task
from tests.support.stages import Stage

AT_MOST_ONCE = QueueSettings(worker="tests:work", concurrency=1, delivery=Delivery.AT_MOST_ONCE)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=AT_MOST_ONCE)
    stage.staff()
    yield stage
    stage.close()


def kinds(stage: Stage, task_id: str) -> list[tuple[str, bool]]:
    return [(error["kind"], error["charged"]) for error in stage.task(task_id).errors]


def test_what_ran_in_a_worker_that_crashed_is_lost(stage: Stage) -> None:
    task = new_task(backoff=NO_BACKOFF)
    stage.lose(stage.begin(task))
    stage.turn()
    assert stage.states(task) == ["dead"]
    assert kinds(stage, task.id) == [("lost", True)]
    (error,) = stage.task(task.id).errors
    assert (error["exit"], error["attempt"]) == ("SIGKILL", 1)
    assert stage.owner.dead[0].id == task.id


def test_what_a_dead_worker_had_not_begun_is_run_by_another(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    stage.lose(stage.worker)
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.states(task) == ["completed"]
    assert kinds(stage, task.id) == []


def test_an_error_is_retried(stage: Stage) -> None:
    task = new_task(backoff=NO_BACKOFF)
    worker = stage.begin(task)
    worker.fail(stage.wall)
    worker.take()
    stage.ring(worker)
    assert stage.states(task) == ["retryable"]
    assert kinds(stage, task.id) == [("error", True)]


def test_a_timeout_is_retried(stage: Stage) -> None:
    task = new_task(timeout_ms=1_000)
    worker = stage.begin(task)
    stage.wait(2)
    stage.turn()
    assert stage.killed == [worker.name]
    stage.lose(worker)
    stage.turn()
    assert stage.states(task) == ["retryable"]
    assert kinds(stage, task.id) == [("timeout", True)]


def test_what_a_stopped_worker_ran_is_lost(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    stage.owner.doom(stage.slot(worker), Doom.INTERRUPT)
    stage.lose(worker)
    stage.turn()
    assert kinds(stage, task.id) == [("lost", True)]


def test_a_cancelled_task_is_cancelled_and_not_lost(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    stage.commands.cancel("r", (task.id,), "me", stage.now)
    stage.lose(worker)
    stage.turn()
    assert stage.states(task) == ["cancelled"]


def test_what_ran_when_its_owner_died_is_lost_and_what_had_not_begun_is_not(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    running, waiting = new_task(), new_task()
    stage.begin(running, waiting)
    stage.restart()
    stage.turn()
    assert stage.states(running, waiting) == ["dead", "available"]
    assert kinds(stage, running.id) == [("lost", True)]
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.states(waiting) == ["completed"]


def test_what_had_ended_when_its_owner_died_is_not_lost(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    first, second = new_task(), new_task()
    stage.begin(first, second).complete(stage.wall, told=True)
    stage.restart()
    stage.turn()
    assert stage.states(first) == ["completed"]


def test_after_a_power_cut_all_that_was_handed_out_is_lost(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    tasks = [new_task() for _ in range(3)]
    stage.begin(*tasks)
    late = new_task()
    stage.submit(late)
    stage.restart(power_cut=True)
    stage.turn()
    assert stage.states(*tasks, late) == ["dead", "dead", "dead", "available"]
    assert [kinds(stage, task.id) for task in tasks] == [[("lost", True)]] * 3


def test_a_fetched_task_whose_lease_ends_is_lost(stage: Stage) -> None:
    running, task = new_task(), new_task()
    stage.begin(running)
    stage.submit(task)
    (held,) = fetch(stage, lease_ms=1_000)
    stage.wait(1)
    stage.turn()
    assert stage.states(task) == ["dead"]
    assert kinds(stage, task.id) == [("lost", True)]
    assert say(stage, held.ack()) == ["stale"]


def test_a_lost_task_can_be_retried_by_hand(stage: Stage) -> None:
    task = new_task()
    stage.lose(stage.begin(task))
    stage.turn()
    stage.commands.retry("r", (task.id,), stage.now, keep_attempts=False)
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.states(task) == ["completed"]


def test_a_change_of_the_delivery_holds_at_once(stage: Stage) -> None:
    stage.owner.settings = stage.owner.settings.model_copy(update={"delivery": Delivery.AT_LEAST_ONCE})
    task = new_task()
    stage.lose(stage.begin(task))
    stage.turn()
    assert kinds(stage, task.id) == [("crash", True)]
    assert stage.states(task) == ["retryable"]
