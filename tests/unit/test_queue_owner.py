"""What a queue's owner does with the tasks that are submitted to it, and with the orders for the queue as a whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.messages import DeadTask
from callboard.actors.options import Backoff
from callboard.actors.store import Change, Insert
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults
from tests.support.made_tasks import backoff_text, new_task
from tests.support.stages import Stage

ONE_WORKER = QueueSettings(worker="tests:work", concurrency=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=ONE_WORKER)
    stage.staff()
    yield stage
    stage.close()


@pytest.mark.parametrize("begun", [False, True])
def test_a_submission_that_comes_twice_is_accepted_once(stage: Stage, begun: bool) -> None:
    first, second = new_task(), new_task()
    stage.submit(first, second)
    if begun:
        stage.worker.take()
        stage.worker.begin(stage.wall)
    assert stage.submit(first, second).outcome == "accepted"
    assert stage.submit(first).outcome == "accepted"
    for _ in range(2):
        stage.do_all(stage.worker)
    assert stage.states(first, second) == ["completed", "completed"]
    assert [stage.task(task.id).attempt for task in (first, second)] == [1, 1]


def test_a_task_named_twice_in_one_request_is_one_task(stage: Stage) -> None:
    task = new_task()
    stage.submit(task, task)
    stage.do_all(stage.worker)
    assert stage.worker.run is None
    assert stage.states(task) == ["completed"]


def test_a_paused_queue_begins_nothing_more_and_stays_paused_when_its_owner_changes(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    running, waiting, late = new_task(), new_task(), new_task()
    stage.submit(running, waiting)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.owner.set_paused(stage.now, paused=True)
    assert stage.worker._tokens.take() is None
    stage.worker.complete(stage.wall)
    assert not stage.worker.take()
    stage.ring(stage.worker)
    stage.submit(late)
    assert stage.states(running, waiting, late) == ["completed", "available", "available"]
    stage.restart()
    stage.staff()
    assert stage.owner.paused
    assert stage.sent == []
    stage.owner.set_paused(stage.now, paused=False)
    stage.turn()
    assert [run.id for run in stage.sent[0].tasks] == [waiting.id]


def test_a_queue_takes_only_max_length_tasks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1, max_length=2))
    assert stage.submit(new_task(), new_task(run_at=stage.wall + 1_000_000)).outcome == "accepted"
    assert stage.submit(new_task()).outcome == "full"
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.submit(new_task()).outcome == "accepted"
    stage.close()


def test_scaling_is_remembered_and_gets_a_new_version_of_the_settings(stage: Stage) -> None:
    stage.owner.scale(7)
    assert stage.owner.settings.concurrency == 7
    assert stage.owner.settings_version == 2
    stage.restart()
    assert stage.owner.settings.concurrency == 7


def put(stage: Stage, **options: object) -> None:
    """Store new settings as the Registry does, before the owner is told."""
    settings = QueueSettings.model_validate({"worker": "tests:work", **options})
    stage.store.put_queue(stage.queue, settings.model_dump_json(), "", stage.wall)


def test_scaling_keeps_settings_that_were_put_meanwhile(stage: Stage) -> None:
    put(stage, priority=7)
    stage.owner.scale(5)
    assert (stage.owner.settings.priority, stage.owner.settings.concurrency) == (7, 5)
    assert stage.owner.settings_version == 3
    stage.restart()
    assert (stage.owner.settings.priority, stage.owner.settings.concurrency) == (7, 5)


@pytest.mark.parametrize(
    ("worker", "known"),
    [
        ("tests:work", {"tests:work"}),  # the handler has stayed
        ("tests:other", set()),  # what was said of another handler is no news
    ],
)
def test_what_workers_say_keeps_settings_that_were_put_meanwhile(stage: Stage, worker: str, known: set[str]) -> None:
    put(stage, priority=7, worker=worker)
    assert stage.owner.learn({"tests:work": TypeDefaults(max_retries=9)})
    for _ in range(2):
        assert (stage.owner.settings.priority, stage.owner.settings.worker) == (7, worker)
        assert set(stage.owner.settings.learned) == known
        stage.restart()


def test_a_task_runs_when_it_is_due_and_not_before(stage: Stage) -> None:
    late, early = new_task(run_at=stage.wall + 2_000_000), new_task(run_at=stage.wall + 1_500_000)
    stage.submit(late, early)
    for moment, task in ((1_001.5, early), (1_002.0, late)):
        before = len(stage.sent)
        while len(stage.sent) == before:
            stage.wait_for_next_look()
        assert stage.mono == pytest.approx(moment)
        assert [run.id for run in stage.sent[-1].tasks] == [task.id]
        stage.do_all(stage.worker)


def test_what_another_process_has_put_off_is_found_by_the_poll(stage: Stage) -> None:
    """Nobody told the owner of it: the interval says how long it may take until it is found."""
    task = new_task(run_at=stage.wall + 100)
    with stage.owned.transaction() as transaction:
        transaction.apply(Change(inserts=[Insert(task, "scheduled", 0, 1)]))
    while not stage.sent:
        stage.wait_for_next_look()
    assert stage.mono <= 1_001.001


def test_many_due_tasks_become_available_bit_by_bit(stage: Stage) -> None:
    tasks = [new_task(run_at=stage.wall + 1_000) for _ in range(1_100)]
    stage.submit(*tasks)
    stage.owner.paused = True
    stage.wait(1)
    available = []
    for _ in range(3):
        stage.turn()
        available.append(stage.owned.counts()[TaskState.AVAILABLE])
        assert stage.owner.next_look(stage.now) <= stage.mono or available[-1] == 1_100
    assert available == [500, 1_000, 1_100]


def test_the_dead_are_kept_for_forwarding_but_not_without_a_bound(stage: Stage) -> None:
    stage.owner.dead = [DeadTask(str(number), "mail", 0, "error", "") for number in range(1_000)]
    task = new_task(max_retries=0)
    stage.submit(task)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.worker.fail(stage.wall, "the last straw")
    stage.turn()
    assert len(stage.owner.dead) == 1_000
    assert stage.owner.dead[-1] == DeadTask(task.id, "mail", stage.wall, "error", "the last straw")


def test_rates_tell_what_was_submitted_completed_failed_and_how_long_workers_were_busy(stage: Stage) -> None:
    good, bad = new_task(), new_task()
    stage.submit(good)
    stage.wait(2)
    stage.do_all(stage.worker)
    stage.submit(bad)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.worker.fail(stage.wall)
    stage.worker.take()
    stage.wait(1)
    stage.ring(stage.worker)
    stage.wait(1)
    rates = {name: stage.owner.rates.per_second(name, stage.mono) for name in ("submitted", "completed", "failed", "busy")}
    assert rates == pytest.approx({"submitted": 0.5, "completed": 0.25, "failed": 0.25, "busy": 0.75})


def test_a_task_that_has_become_due_joins_the_back_of_its_priority(stage: Stage) -> None:
    due = new_task(run_at=stage.wall + 1_000_000)
    running, waiting = new_task(), new_task()
    stage.submit(due, running, waiting)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.wait(2)
    stage.turn()
    late = new_task()
    stage.submit(late)
    while stage.worker.run:
        stage.do_all(stage.worker)
    assert [run.id for batch in stage.sent for run in batch.tasks] == [running.id, waiting.id, due.id, late.id]


def test_a_failed_task_runs_again_as_soon_as_its_backoff_is_over(stage: Stage) -> None:
    task = new_task(backoff=backoff_text(Backoff(base_ms=250)))
    stage.submit(task)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.worker.fail(stage.wall)
    stage.worker.take()
    failed_at = stage.mono
    stage.ring(stage.worker)
    while len(stage.sent) == 1:
        stage.wait_for_next_look()
    assert stage.mono == pytest.approx(failed_at + 0.25)
    assert stage.sent[1].tasks[0].attempt == 2
