"""Old tasks go when their retention says so, a few at a time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors import housekeeping
from callboard.actors.housekeeping import Housekeeping
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage

RETENTION = {"completed": "10s", "dead": "20s", "cancelled": "forever"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    settings = QueueSettings.model_validate({"worker": "tests:work", "concurrency": 1, "retention": RETENTION})
    stage = Stage(tmp_path, settings=settings)
    stage.staff()
    yield stage
    stage.close()


def end_each_way(stage: Stage) -> list[NewTask]:
    """End tasks: completed, dead, cancelled."""
    completed, dead, cancelled = tasks = [new_task(), new_task(max_retries=0), new_task()]
    stage.submit(completed)
    stage.do_all(stage.worker)
    stage.submit(dead)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.worker.fail(stage.wall)
    stage.worker.take()
    stage.ring(stage.worker)
    stage.owner.paused = True
    stage.submit(cancelled)
    stage.commands.cancel("r", (cancelled.id,), "somebody", stage.now)
    return tasks


def keep_house(house: Housekeeping, stage: Stage) -> None:
    """Let exactly so much time pass as it asks for, and do what is due."""
    stage.wait(max(house.next_look - stage.mono, 0.0))
    house.turn(stage.now)


def kept(stage: Stage, tasks: list[NewTask]) -> list[bool]:
    return [stage.store.get(task.id) is not None for task in tasks]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (9, [True, True, True]),
        (11, [False, True, True]),
        (21, [False, False, True]),  # forever is forever
        (10_000_000, [False, False, True]),
    ],
)
def test_ended_tasks_go_when_they_are_old_enough(stage: Stage, age: float, expected: list[bool]) -> None:
    tasks = end_each_way(stage)
    stage.wait(age)
    house = Housekeeping(stage.owner, stage.now)
    stage.wall -= round((house.next_look - stage.mono) * 1_000_000)  # its first look is a moment later
    keep_house(house, stage)
    assert kept(stage, tasks) == expected


def test_tasks_that_have_not_ended_stay_for_ever(stage: Stage) -> None:
    waiting = [new_task(), new_task(run_at=stage.wall + 10**15)]
    stage.owner.paused = True
    stage.submit(*waiting)
    stage.wait(10_000_000)
    keep_house(Housekeeping(stage.owner, stage.now), stage)
    assert kept(stage, waiting) == [True, True]


def test_it_does_nothing_before_its_time(stage: Stage) -> None:
    house = Housekeeping(stage.owner, stage.now)
    commits = stage.owned.commits
    house.turn(stage.now)
    assert stage.owned.commits == commits
    keep_house(house, stage)
    assert stage.owned.commits == commits + 2  # completed and dead; cancelled ones are kept for ever
    assert house.next_look == stage.mono + 60


def test_many_go_a_few_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "AT_ONCE", 2)
    tasks = [task for _ in range(5) for task in end_and_resume(stage)]
    stage.wait(11)
    house = Housekeeping(stage.owner, stage.now)
    left = []
    while house.next_look <= stage.mono + 1:
        keep_house(house, stage)
        left.append(sum(kept(stage, tasks)))
    assert left == [3, 1, 0]


def end_and_resume(stage: Stage) -> list[NewTask]:
    task = new_task()
    stage.submit(task)
    stage.do_all(stage.worker)
    return [task]


def test_a_store_that_fails_is_tried_again_later(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    tasks = end_each_way(stage)
    stage.wait(11)
    house = Housekeeping(stage.owner, stage.now)
    stage.owned.breakage = Breakage.BEGIN
    keep_house(house, stage)
    assert kept(stage, tasks) == [True, True, True]
    assert "could not remove old tasks" in caplog.text
    stage.owned.breakage = Breakage.NONE
    keep_house(house, stage)
    assert kept(stage, tasks) == [False, False, True]  # a minute later the dead one is old, too
