"""How a queue stops: what runs may end within the grace, all else goes back, everything is stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import QueueStopped, StopQueue
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker that is up, and quick tasks: they go out in batches."""
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.owner.run_times.ran("work", 0)
    stage.staff()
    yield stage
    stage.close()


def stop(stage: Stage, grace: float = 5.0) -> None:
    stage.stopping.begin(StopQueue("s", "mail", grace), "registry", stage.now)
    stage.turn()


def stopped(stage: Stage) -> list[int]:
    """Return how many tasks each answer says were interrupted."""
    for receiver, message in stage.replies:
        assert receiver == "registry"
        assert isinstance(message, QueueStopped)
        assert (message.request_id, message.queue) == ("s", "mail")
    return [message.interrupted for _, message in stage.replies]


def running(stage: Stage) -> tuple[NewTask, NewTask]:
    """Hand out two tasks; the first runs."""
    tasks = new_task(), new_task()
    stage.submit(*tasks)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    return tasks


def test_an_idle_queue_stops_at_once(stage: Stage) -> None:
    assert stage.stopping.next_look == float("inf")
    stage.turn()
    stop(stage)
    assert stopped(stage) == [0]
    stage.turn()
    assert len(stage.replies) == 1


def test_what_has_not_begun_goes_back_and_what_runs_may_end(stage: Stage) -> None:
    first, second = running(stage)
    stop(stage)
    assert stopped(stage) == []
    stage.wait(4)
    stage.turn()
    assert stage.killed == []
    stage.worker.complete(stage.wall)
    assert not stage.worker.take()
    stage.ring(stage.worker)
    assert stopped(stage) == [0]
    assert stage.states(first, second) == ["completed", "available"]
    assert stage.owned.hand_outs() == []
    assert len(stage.sent) == 1


def test_an_end_is_seen_though_the_bell_has_not_rung(stage: Stage) -> None:
    first, _ = running(stage)
    stop(stage)
    stage.worker.complete(stage.wall)
    stage.turn()
    assert stopped(stage) == [0]
    assert stage.states(first) == ["completed"]
    assert stage.owned.hand_outs() == []


def test_after_the_grace_what_still_runs_is_interrupted_and_not_charged(stage: Stage) -> None:
    first, second = running(stage)
    stop(stage)
    assert stage.stopping.next_look == stage.mono + 5
    stage.wait(5)
    stage.turn()
    assert stage.killed == [stage.worker.name]
    assert stopped(stage) == []
    stage.lose(stage.worker)
    stage.turn()
    assert stopped(stage) == [1]
    assert stage.states(first, second) == ["available", "available"]
    (error,) = stage.task(first.id).errors
    assert (error["kind"], error["charged"]) == ("interrupted", False)
    assert stage.task(second.id).errors == []


def test_a_worker_that_crashes_within_the_grace_is_charged_as_always(stage: Stage) -> None:
    first, _ = running(stage)
    stop(stage)
    stage.lose(stage.worker)
    stage.turn()
    assert stopped(stage) == [0]
    assert stage.states(first) == ["retryable"]


def test_nothing_is_said_before_everything_is_stored(stage: Stage) -> None:
    first, second = running(stage)
    stop(stage)
    stage.owned.breakage = Breakage.COMMIT
    stage.worker.complete(stage.wall)
    with pytest.raises(StoreUnavailable):
        stage.turn()
    assert stopped(stage) == []
    stage.owned.breakage = Breakage.NONE
    stage.turn()
    assert stopped(stage) == [0]
    assert stage.states(first, second) == ["completed", "available"]
