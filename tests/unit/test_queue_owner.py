"""The owner of a queue, driven without actors: what it stores, what it hands out, and what it does when it can't."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.crew import Doom
from callboard.actors.errors import StoreUnavailable
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


def test_a_queue_with_nothing_to_do_notices_that_its_store_is_well_again(stage: Stage) -> None:
    stage.owned.breakage = Breakage.COMMIT
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    stage.owned.breakage = Breakage.NONE
    stage.wait_for_next_look()
    assert stage.owner.trouble == ""
    assert stage.owner.next_look(stage.now) > stage.mono


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
