"""What a new owner makes of the batches that its predecessors had handed out."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.editing import edit
from callboard.actors.errors import StoreUnavailable
from callboard.actors.hand_out import JournalWriter, Mark, record
from callboard.actors.lifecycle import MAX_INTERRUPTIONS
from callboard.actors.messages import EditTask
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.store import Change, HandOut
from callboard.actors.store.opening import open_store
from callboard.actors.task import NewTask, TaskState
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import WALL, new_task
from tests.support.stages import Stage


@pytest.fixture(params=["memory", "sqlite"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up, and quick tasks: they go out in batches."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/callboard.db"
    store = open_store(url, clock=lambda: WALL)
    stage = Stage(tmp_path / "data", store=store, settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.staff()
    stage.submit(new_task())
    stage.do_all(stage.worker)
    yield stage
    stage.close()
    store.close()


def batch(stage: Stage, count: int, **values: Any) -> list[NewTask]:
    """Hand out a batch of so many tasks."""
    tasks = [new_task(**values) for _ in range(count)]
    stage.submit(*tasks)
    assert stage.worker.run is not None
    assert len(stage.worker.run.tasks) == count
    return tasks


def kinds(stage: Stage, task: NewTask) -> list[tuple[str, bool]]:
    return [(error["kind"], error["charged"]) for error in stage.task(task.id).errors]


def test_each_task_of_a_batch_is_settled_by_how_far_it_had_come(stage: Stage) -> None:
    ended, failed, running, taken, waiting = tasks = batch(stage, 5)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall + 5, "result")
    worker.take()
    worker.begin(stage.wall)
    worker.fail(stage.wall + 6, "told so")
    worker.take()
    worker.begin(stage.wall + 7)
    worker._tokens.take()  # the fourth's: its end goes into one write with the next beginning
    stage.wait(1)
    stage.restart()
    assert stage.states(*tasks) == ["completed", "retryable", "available", "available", "available"]
    assert [stage.task(task.id).attempt for task in tasks] == [1, 1, 1, 0, 0]
    assert stage.task(ended.id).result == "result"
    assert stage.task(ended.id).finished_at == WALL + 5
    assert kinds(stage, failed) == [("error", True)]
    assert kinds(stage, running) == [("interrupted", False)]
    assert kinds(stage, taken) == kinds(stage, waiting) == []
    assert stage.owned.hand_outs() == []


def test_the_tasks_keep_their_places(stage: Stage) -> None:
    first, second, third = batch(stage, 3)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    last = new_task()
    stage.submit(last)
    stage.restart()
    stage.staff()
    order = [task.id for run in stage.sent for task in run.tasks]
    while stage.worker.run:
        stage.do_all(stage.worker)
        order = [task.id for run in stage.sent for task in run.tasks]
    assert order == [first.id, second.id, third.id, last.id]


@pytest.mark.parametrize("begun", [False, True])
def test_a_single_task_was_stored_as_running_and_is_believed_only_if_it_was(stage: Stage, begun: bool) -> None:
    (task,) = batch(stage, 1)
    assert stage.states(task) == ["executing"]
    stage.worker.take()
    if begun:
        stage.worker.begin(stage.wall)
    stage.restart()
    assert stage.states(task) == ["available"]
    assert stage.task(task.id).attempt == int(begun)
    assert kinds(stage, task) == ([("interrupted", False)] if begun else [])


def test_after_a_power_cut_no_journal_is_believed(stage: Stage) -> None:
    done, running = batch(stage, 2)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    stage.restart(power_cut=True)
    assert stage.states(done, running) == ["available", "available"]
    assert kinds(stage, done) == []


def test_after_a_power_cut_what_the_store_calls_running_is_taken_for_interrupted(stage: Stage) -> None:
    (task,) = batch(stage, 1)
    stage.restart(power_cut=True)
    assert stage.states(task) == ["available"]
    assert stage.task(task.id).attempt == 1
    assert kinds(stage, task) == [("interrupted", False)]


def test_a_task_longer_than_its_owners_live_does_not_loop_for_ever(stage: Stage) -> None:
    (task,) = batch(stage, 1, max_retries=0)
    for _ in range(MAX_INTERRUPTIONS + 1):
        stage.staff()
        stage.worker.take()
        stage.worker.begin(stage.wall)
        stage.restart()
    assert stage.states(task) == ["dead"]
    assert kinds(stage, task) == [("interrupted", False)] * MAX_INTERRUPTIONS + [("interrupted", True)]


def one_fails_and_one_runs(stage: Stage) -> list[NewTask]:
    """Have the first of a batch's two tasks fail, and the second one begun."""
    tasks = batch(stage, 2, timeout_ms=1_000_000)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.fail(stage.wall)
    worker.take()
    worker.begin(stage.wall)
    stage.turn()
    return tasks


def test_an_outcome_that_is_stored_is_not_applied_again(stage: Stage) -> None:
    """The journal still tells of the first task's failure, and the batch is still open, but the task has gone on."""
    failed, running = one_fails_and_one_runs(stage)
    assert stage.states(failed) == ["retryable"]
    stage.restart()
    stage.restart()
    assert stage.states(failed, running) == ["retryable", "available"]
    assert kinds(stage, failed) == [("error", True)]
    assert stage.task(failed.id).attempt == 1


def test_a_task_that_was_retried_by_hand_is_not_settled_by_its_old_batch(stage: Stage) -> None:
    done, running = batch(stage, 2)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    worker.take()
    worker.begin(stage.wall)
    stage.turn()
    stage.commands.retry("r", (done.id,), stage.now, keep_attempts=False)
    stage.restart()
    assert stage.states(done, running) == ["available", "available"]
    assert stage.task(done.id).attempt == 0


def there_and_back(stage: Stage, task: NewTask) -> None:
    """Move a task to another queue, and have its owner move it back, where it is ready at once."""
    stage.store.put_queue("other", stage.owner.settings.model_dump_json(), "", stage.wall)
    there = EditTask("r", "mail", 1, task.id, to_queue="other", run_at=stage.wall)
    assert edit(stage.owner, there, "registry", stage.now).changed == (task.id,)
    owned, ownership = stage.store.own("other")
    other = QueueOwner("other", owned, ownership, stage.owner.settings, rng=random.Random(0), now=stage.now)
    back = EditTask("r", "other", 1, task.id, to_queue="mail", run_at=stage.wall)
    assert edit(other, back, "registry", stage.now).changed == (task.id,)
    stage.owner.places.note(stage.wall)
    owned.close()


@pytest.mark.parametrize("begun_again", [False, True])
def test_a_task_that_was_moved_away_and_back_is_not_settled_by_its_old_batch(stage: Stage, begun_again: bool) -> None:
    worker = stage.worker
    failed, running = one_fails_and_one_runs(stage)
    there_and_back(stage, failed)
    if begun_again:
        stage.owner.scale(2)
        stage.staff()
        (second,) = [other for other in stage.workers.values() if other is not worker]
        second.take()
        second.begin(stage.wall)
    stage.turn()
    assert stage.states(failed) == ["executing" if begun_again else "available"]
    stage.restart()
    assert stage.states(failed, running) == ["available", "available"]
    assert kinds(stage, failed) == [("error", True)] + [("interrupted", False)] * begun_again
    assert kinds(stage, running) == [("interrupted", False)]
    assert stage.owned.hand_outs() == []


def test_a_task_that_several_batches_name_is_settled_by_the_newest_of_them(stage: Stage) -> None:
    """Such rows there are of a task that has been in another queue before a move struck it out of its old batch."""
    (task,) = batch(stage, 1)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    (newest,) = stage.owned.hand_outs()
    with stage.owned.transaction() as transaction:
        transaction.apply(Change(hand_outs=[HandOut(newest.number - 1, newest.worker, ("", task.id))]))
    stage.restart()
    assert stage.states(task) == ["available"]
    assert kinds(stage, task) == [("interrupted", False)]
    assert stage.owned.hand_outs() == []


def test_records_of_a_batch_that_nobody_knows_are_ignored(stage: Stage) -> None:
    (task,) = batch(stage, 1)
    writer = JournalWriter(stage.folder / "queues" / "mail" / f"{stage.worker.name}.journal")
    writer.write(record(999, 0, Mark.COMPLETED, WALL, b'"of another batch"') + record(2, 77, Mark.COMPLETED, WALL, b"1"))
    writer.close()
    stage.restart()
    assert stage.states(task) == ["available"]


def test_a_task_that_was_purged_meanwhile_is_no_obstacle(stage: Stage) -> None:
    done, running = batch(stage, 2)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    stage.turn()
    with stage.owned.transaction() as transaction:
        assert transaction.purge(TaskState.COMPLETED, WALL + 1_000_000, 10) == 2
    stage.restart()
    assert stage.store.get(done.id) is None
    assert stage.states(running) == ["available"]


def test_an_owner_that_can_not_store_what_it_finds_leaves_it_to_the_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.staff()
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    stage.breakage_at_start = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        stage.restart()
    assert stage.states(task) == ["executing"]
    stage.breakage_at_start = Breakage.NONE
    stage.restart()
    assert stage.states(task) == ["completed"]
    stage.close()
