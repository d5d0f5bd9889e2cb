"""What a queue's owner does when its store fails: nothing is sent that is not stored, nothing is lost, and it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.crew import Doom
from callboard.actors.errors import StoreUnavailable, Superseded
from callboard.actors.messages import Submission
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage

ONE_WORKER = QueueSettings(worker="tests:work", concurrency=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up."""
    stage = Stage(tmp_path, settings=ONE_WORKER)
    stage.staff()
    yield stage
    stage.close()


@pytest.mark.parametrize("breakage", [Breakage.BEGIN, Breakage.COMMIT, Breakage.READ])
def test_a_submission_that_can_not_be_stored_is_refused_and_nothing_is_sent(stage: Stage, breakage: Breakage) -> None:
    task = new_task()
    stage.owned.breakage = breakage
    stage.wait(1.1)  # so that the owner has something to read as well
    with pytest.raises(StoreUnavailable, match=breakage):
        stage.submit(task)
    assert stage.sent == []
    assert stage.store.get(task.id) is None
    assert stage.slot(stage.worker).state == "idle"
    assert stage.owner.trouble == breakage
    stage.owned.breakage = Breakage.NONE
    stage.submit(task)
    assert [run.id for run in stage.sent[0].tasks] == [task.id]
    assert stage.owner.trouble == ""


@pytest.mark.parametrize("breakage", [Breakage.BEGIN, Breakage.COMMIT])
def test_what_has_happened_is_kept_until_it_can_be_stored(stage: Stage, breakage: Breakage) -> None:
    first, second = new_task(), new_task(max_retries=0)
    stage.submit(first, second)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall, "kept")
    worker.take()
    stage.owned.breakage = breakage
    stage.ring(worker)
    assert stage.states(first, second) == ["executing", "available"]
    assert len(stage.sent) == 1
    for _ in range(5):
        stage.wait_for_next_look()
    stage.owned.breakage = Breakage.NONE
    stage.wait_for_next_look()
    assert stage.task(first.id).result == "kept"
    assert [run.id for run in stage.sent[1].tasks] == [second.id]


def test_a_store_that_stays_away_is_asked_ever_more_rarely(stage: Stage) -> None:
    stage.owned.breakage = Breakage.BEGIN
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    waits = []
    for _ in range(8):
        before = stage.mono
        stage.wait_for_next_look()
        waits.append(round(stage.mono - before, 3))
    assert waits == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]


def test_workers_are_looked_after_though_the_store_is_away(stage: Stage) -> None:
    task = new_task(timeout_ms=500, max_retries=0)
    stage.submit(task)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    stage.owned.breakage = Breakage.COMMIT
    for _ in range(10):
        stage.wait_for_next_look()
    assert stage.killed == [worker.name]
    stage.lose(worker)
    stage.owned.breakage = Breakage.NONE
    stage.wait(5)
    stage.turn()
    assert stage.states(task) == ["dead"]
    assert [error["kind"] for error in stage.task(task.id).errors] == ["timeout"]
    assert [dead.id for dead in stage.owner.dead] == [task.id]


def test_due_tasks_whose_promotion_failed_are_still_waiting(stage: Stage) -> None:
    task = new_task(run_at=stage.wall + 1_000_000)
    stage.submit(task)
    stage.owned.breakage = Breakage.COMMIT
    stage.wait(2)
    stage.turn()
    stage.owned.breakage = Breakage.NONE
    stage.wait(1)
    stage.wall -= 5_000_000  # by the new clock it is not due any more
    stage.turn()
    assert stage.sent == []
    assert stage.states(task) == ["scheduled"]
    stage.wait(5)
    stage.turn()
    assert [run.id for run in stage.sent[0].tasks] == [task.id]


@pytest.mark.parametrize(("well", "state"), [(True, "completed"), (False, "retryable")])
def test_a_task_whose_end_is_not_stored_yet_is_not_read_as_ready(tmp_path: Path, well: bool, state: str) -> None:
    """In a batch its row says `available` until its end is stored, and the window is filled meanwhile."""
    stage = Stage(tmp_path, settings=ONE_WORKER, window=8)
    stage.owner.run_times.ran("work", 0)
    tasks = [new_task() for _ in range(4)]
    stage.submit(*tasks)
    stage.staff()
    worker = stage.worker
    urgent = [new_task(priority=5) for _ in range(17)]  # more than the window holds: its edge is now before the batch
    stage.submit(*urgent)
    stage.commands.cancel("r", tuple(task.id for task in urgent), "me", stage.now)
    while worker.take():
        worker.begin(stage.wall)
        worker.complete(stage.wall) if well else worker.fail(stage.wall)
    assert stage.owner.window.wants_more
    stage.owned.breakage = Breakage.BEGIN
    stage.ring(worker)
    assert len(stage.owner.window) == 0
    stage.owned.breakage = Breakage.NONE
    stage.wait(0.2)
    stage.turn()
    assert stage.states(*tasks) == [state] * 4
    assert len(stage.sent) == 1
    stage.close()


def test_an_owner_that_was_replaced_writes_nothing_and_sends_nothing(stage: Stage) -> None:
    old = stage.owner
    stage.restart()
    task = new_task()
    with pytest.raises(Superseded):
        old.submit((Submission((task,)),), stage.now)
    assert old.outbox == []
    assert stage.store.get(task.id) is None


def test_a_queue_with_nothing_to_do_notices_that_its_store_is_well_again(stage: Stage) -> None:
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    stage.owned.breakage = Breakage.NONE
    stage.wait_for_next_look()
    assert stage.owner.trouble == ""
    assert stage.owner.next_look(stage.now) > stage.mono


def test_once_a_submission_was_stored_nothing_waits_for_the_store_any_more(stage: Stage) -> None:
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    for _ in range(5):
        stage.wait_for_next_look()  # the next try is five seconds away by now
    stage.owned.breakage = Breakage.NONE
    later = new_task(run_at=stage.wall + 500_000)
    stage.submit(later)
    stage.wait_for_next_look()
    assert [[run.id for run in sent.tasks] for sent in stage.sent] == [[later.id]]


def test_what_comes_back_from_behind_the_windows_edge_is_not_read_past(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=ONE_WORKER, window=8)
    stage.staff()
    long = new_task(timeout_ms=1_000_000)
    stage.submit(long)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    urgent = [new_task(priority=5) for _ in range(17)]  # more than the window holds: its edge is now before `long`
    stage.submit(*urgent)
    stage.commands.cancel("r", tuple(task.id for task in urgent), "me", stage.now)
    assert stage.owner.window.wants_more
    stage.owner.doom(stage.slot(worker), Doom.INTERRUPT)
    stage.lose(worker)
    stage.staff()
    assert [[task.id for task in run.tasks] for run in stage.sent] == [[long.id], [long.id]]
    stage.close()
