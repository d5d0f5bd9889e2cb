"""What waits is cancelled at once, what runs when its worker has been killed for it; and nobody else is hurt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import TasksChanged
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.staff()
    yield stage
    stage.close()


def cancel(stage: Stage, *tasks: NewTask) -> None:
    stage.commands.cancel("r", tuple(task.id for task in tasks), "somebody", stage.now)
    stage.turn()


def reply(stage: Stage) -> TasksChanged:
    ((receiver, message),) = stage.replies
    assert receiver == "somebody"
    assert isinstance(message, TasksChanged)
    assert message.request_id == "r"
    return message


def test_waiting_tasks_are_cancelled_at_once(stage: Stage) -> None:
    running, waiting = new_task(), new_task()
    later = new_task(run_at=stage.wall + 1_000_000)
    stage.begin(running, waiting, later)
    cancel(stage, waiting, later)
    assert reply(stage) == TasksChanged("r", (waiting.id, later.id), {})
    assert stage.states(running, waiting, later) == ["executing", "cancelled", "cancelled"]
    stage.do_all(stage.worker)
    stage.wait(2)
    stage.turn()
    assert len(stage.sent) == 1


def test_what_can_not_be_cancelled_is_named_with_its_state(stage: Stage) -> None:
    done, unknown = new_task(), new_task()
    stage.submit(done)
    stage.do_all(stage.worker)
    (died,) = stage.let_die()
    cancel(stage, done, died, unknown)
    assert reply(stage) == TasksChanged("r", (), {done.id: "completed", died.id: "dead", unknown.id: ""})


def test_a_running_task_is_cancelled_when_its_worker_is_dead(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    cancel(stage, task, task)  # an id that comes twice counts once
    assert stage.killed == [worker.name]
    assert stage.replies == []
    stage.lose(worker)
    assert stage.replies == []
    stage.turn()
    assert reply(stage) == TasksChanged("r", (task.id,), {})
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, stored.started_at, stored.finished_at) == ("cancelled", 1, stage.wall, stage.wall)


def test_the_neighbours_of_a_cancelled_task_go_back_uncharged(stage: Stage) -> None:
    stage.submit(new_task())
    stage.do_all(stage.worker)  # the type is known to be quick, so tasks go out in batches
    running, neighbour = new_task(), new_task()
    worker = stage.begin(running, neighbour)
    assert len(stage.sent[-1].tasks) == 2
    cancel(stage, running)
    assert stage.states(neighbour) == ["available"]
    stage.lose(worker)
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.states(running, neighbour) == ["cancelled", "completed"]
    assert (stage.task(neighbour.id).attempt, stage.task(neighbour.id).errors) == (1, [])


def test_a_task_that_is_quicker_than_its_cancellation_stays_completed(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    cancel(stage, task)
    worker.complete(stage.wall)
    stage.lose(worker)
    stage.turn()
    assert reply(stage) == TasksChanged("r", (), {task.id: "completed"})
    assert stage.states(task) == ["completed"]


def test_a_task_that_fails_before_its_cancellation_kills_it_is_not_retried(stage: Stage) -> None:
    task, last = new_task(), new_task(max_retries=0)
    for each, state in ((task, "cancelled"), (last, "dead")):
        worker = stage.begin(each)
        cancel(stage, each)
        worker.fail(stage.wall)
        stage.lose(worker)
        stage.staff()
        assert stage.states(each) == [state]
        assert len(stage.task(each.id).errors) == 1
    answers = [message for _, message in stage.replies]
    assert answers == [TasksChanged("r", (task.id,), {}), TasksChanged("r", (), {last.id: "dead"})]


def test_a_cancellation_that_can_not_be_stored_changes_nothing(stage: Stage) -> None:
    running, waiting = new_task(), new_task()
    worker = stage.begin(running, waiting)
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        cancel(stage, running, waiting)
    stage.owned.breakage = Breakage.NONE
    stage.wait(1)
    stage.turn()
    assert stage.killed == []
    assert stage.states(running, waiting) == ["executing", "available"]
    worker.complete(stage.wall)
    worker.take()
    stage.ring(worker)
    stage.do_all(worker)
    assert stage.states(running, waiting) == ["completed", "completed"]


def test_a_cancelled_task_that_its_worker_had_not_begun_counts_no_attempt(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    worker.take()
    cancel(stage, task)
    stage.lose(worker)
    stage.turn()
    assert reply(stage).changed == (task.id,)
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, stored.started_at) == ("cancelled", 0, None)


def test_a_cancellation_is_answered_though_the_worker_was_dying_already(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    worker.take()
    stage.wait(11)
    stage.turn()
    assert stage.killed == [worker.name]  # for not answering
    cancel(stage, task)
    stage.lose(worker)
    stage.turn()
    assert reply(stage).changed == (task.id,)
    assert stage.states(task) == ["cancelled"]
    assert stage.killed == [worker.name]


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)])
def test_only_what_was_to_be_cancelled_is_though_its_worker_was_between_two_tasks(
    stage: Stage, wanted: tuple[int, ...]
) -> None:
    stage.submit(new_task())
    stage.do_all(stage.worker)  # the type is known to be quick, so tasks go out in batches
    tasks = [new_task(), new_task()]
    worker = stage.begin(*tasks)
    worker.complete(stage.wall, told=False)
    worker.take()
    cancel(stage, *(tasks[index] for index in wanted))
    stage.lose(worker)  # it can't tell any more that the first has ended
    stage.turn()
    assert set(reply(stage).changed) == {tasks[index].id for index in wanted}
    assert stage.states(*tasks) == ["cancelled" if index in wanted else "available" for index in (0, 1)]
    assert [stage.task(task.id).attempt for task in tasks] == [1, 0]


def test_what_begins_while_a_cancelled_task_ends_is_interrupted_with_its_worker(stage: Stage) -> None:
    stage.submit(new_task())
    stage.do_all(stage.worker)
    first, second = new_task(), new_task()
    worker = stage.begin(first, second)
    worker.complete(stage.wall, told=False)
    worker.take()
    cancel(stage, first)
    worker.begin(stage.wall)
    stage.lose(worker)
    stage.turn()
    assert reply(stage) == TasksChanged("r", (), {first.id: "completed"})
    assert stage.states(second) == ["available"]
    assert [error["kind"] for error in stage.task(second.id).errors] == ["interrupted"]
