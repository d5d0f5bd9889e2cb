"""What a queue's owner does about workers that are slow, silent or dead."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.crew import Slot
from callboard.conf.settings import QueueSettings
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


def test_a_task_that_runs_too_long_is_killed_and_charged(stage: Stage) -> None:
    task = new_task(timeout_ms=2_000)
    stage.submit(task)
    worker = stage.worker
    stage.wait(1)
    worker.take()
    worker.begin(stage.wall)
    started = stage.mono
    while not stage.killed:
        stage.wait_for_next_look()
    assert stage.mono == pytest.approx(started + 2)
    stage.lose(worker)
    stage.turn()
    (error,) = stage.task(task.id).errors
    assert (error["kind"], error["charged"]) == ("timeout", True)
    assert "timeout of 2000 ms" in error["message"]
    assert stage.states(task) == ["retryable"]


def test_a_task_that_ends_just_before_its_timeout_is_not_killed(stage: Stage) -> None:
    task = new_task(timeout_ms=2_000)
    stage.submit(task)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    stage.turn()
    stage.wait(3)
    worker.complete(stage.wall - 1_500_000)
    stage.turn()
    assert stage.killed == []
    assert stage.states(task) == ["completed"]


@pytest.mark.parametrize("jump", [-3_600, 3_600])
def test_a_clock_that_is_set_makes_no_task_late(stage: Stage, jump: int) -> None:
    stage.submit(new_task(timeout_ms=2_000))
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.wall += jump * 1_000_000
    stage.wait(1.9)
    stage.turn()
    assert stage.killed == []
    stage.wait(2)
    stage.turn()
    assert stage.killed == [stage.worker.name]


def test_a_batch_that_takes_long_is_shared_with_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=2))
    stage.owner.run_times.ran("work", 10)
    (slow, quick) = tasks = [new_task(), new_task()]
    stage.submit(*tasks)
    stage.staff()
    assert [len(run.tasks) for run in stage.sent] == [2]
    first = next(worker for worker in stage.workers.values() if worker.run)
    other = next(worker for worker in stage.workers.values() if not worker.run)
    first.take()
    first.begin(stage.wall)
    stage.wait_for_next_look()
    assert other.run is not None
    assert [run.id for run in other.run.tasks] == [quick.id]
    stage.do_all(other)
    first.complete(stage.wall)
    assert not first.take()
    stage.ring(first)
    assert stage.states(slow, quick) == ["completed", "completed"]
    assert [stage.task(task.id).attempt for task in tasks] == [1, 1]
    stage.close()


def test_a_worker_that_begins_nothing_is_given_up_and_its_batch_goes_to_another(stage: Stage) -> None:
    """It may have lost the message, or be stopped: within a second others may have its tasks."""
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    while not stage.killed:
        stage.wait_for_next_look()
        if stage.mono < 1_010:
            assert stage.states(task) == ["executing" if stage.mono < 1_001 else "available"]
    assert stage.mono == pytest.approx(1_010)
    stage.lose(worker)
    stage.staff()
    stage.do_all(stage.worker)
    assert stage.states(task) == ["completed"]
    assert (stage.task(task.id).attempt, stage.task(task.id).errors) == (1, [])


def test_a_late_message_finds_no_tokens_and_its_worker_goes_on(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    stage.wait(1)
    stage.turn()
    assert not worker.take()
    stage.ring(worker)
    assert worker.run is not None
    assert [run.id for run in worker.run.tasks] == [task.id]


@pytest.mark.parametrize(
    ("exitcode", "message", "exit_"),
    [
        (-11, "the worker process died of signal SIGSEGV", "SIGSEGV"),
        (3, "the worker process died of exit code 3", 3),
        (None, "the worker process died", None),  # nobody knows
    ],
)
def test_a_death_is_charged_to_what_ran_and_to_nothing_else(
    stage: Stage, exitcode: int | None, message: str, exit_: str | int | None
) -> None:
    stage.owner.run_times.ran("work", 0)
    done, running, waiting = tasks = [new_task() for _ in range(3)]
    stage.submit(*tasks)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    worker.take()
    worker.begin(stage.wall)
    stage.lose(worker, exitcode)
    stage.turn()
    assert stage.states(*tasks) == ["completed", "retryable", "available"]
    (error,) = stage.task(running.id).errors
    assert (error["kind"], error["message"], error.get("exit")) == ("crash", message, exit_)
    assert stage.task(done.id).errors == stage.task(waiting.id).errors == []
    assert stage.owned.hand_outs() == []


def test_after_a_crash_the_suspects_go_out_one_by_one(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    stage.submit(*(new_task() for _ in range(4)))
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.lose(stage.worker)
    stage.staff()
    assert [len(run.tasks) for run in stage.sent] == [4, 1]


def test_a_bell_of_an_earlier_batch_is_ignored(stage: Stage) -> None:
    stage.submit(new_task())
    slot = stage.slot(stage.worker)
    for worker, number in ((stage.worker.name, 999), ("unknown", 1)):
        stage.owner.reported(worker, number, stage.now)
    assert slot.state == "busy"
    stage.owner.gone("unknown", None, None, stage.now)
    assert slot.batch is not None


def test_a_worker_whose_journal_tells_every_end_gets_its_next_batch_before_it_rings(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    first, second, third = new_task(), new_task(), new_task()
    stage.submit(first)
    worker = stage.worker
    worker.do_all(stage.wall)
    bell = worker.bell
    assert bell is not None
    stage.submit(second)
    assert [[run.id for run in sent.tasks] for sent in stage.sent] == [[first.id], [second.id]]
    assert stage.states(first, second) == ["completed", "executing"]
    assert not stage.owner.reported(bell.worker, bell.number, stage.now)
    stage.submit(third)
    stage.do_all(worker)
    stage.do_all(worker)
    assert stage.states(second, third) == ["completed", "completed"]


def test_a_batch_of_which_some_was_taken_back_is_over_only_when_its_worker_says_so(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    first, second = new_task(), new_task()
    worker = stage.begin(first, second)
    stage.wait(0.2)
    stage.turn()
    assert stage.states(first, second) == ["executing", "available"]
    worker.complete(stage.wall)
    stage.turn()
    assert len(stage.sent) == 1
    stage.ring(worker)
    assert [run.id for run in stage.sent[1].tasks] == [second.id]


def test_a_task_counts_as_running_until_its_killed_worker_is_dead(stage: Stage) -> None:
    first, second = new_task(timeout_ms=500), new_task()
    stage.submit(first, second)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    while not stage.killed:
        stage.wait_for_next_look()
    stage.staff()
    assert len(stage.workers) == 2
    assert len(stage.sent) == 1
    stage.lose(worker)
    stage.turn()
    assert [run.id for run in stage.sent[1].tasks] == [second.id]


def test_a_task_that_ends_while_its_kill_is_decided_is_not_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    task = new_task(timeout_ms=2_000)
    worker = stage.begin(task)
    stage.turn()
    take_back = stage.owner.outcomes.take_back

    def take_back_and_end(slot: Slot) -> None:
        take_back(slot)
        worker.complete(stage.wall)

    monkeypatch.setattr(stage.owner.outcomes, "take_back", take_back_and_end)
    stage.wait(3)
    stage.turn()
    assert stage.killed == []
    assert stage.states(task) == ["completed"]


def test_a_token_of_a_task_that_has_ended_brings_nothing_back(stage: Stage) -> None:
    """A task can write into every file of its worker."""
    stage.owner.run_times.ran("work", 0)
    done, waiting = new_task(), new_task()
    worker = stage.begin(done, waiting)
    worker.complete(stage.wall)
    stage.turn()
    stage.slot(worker).tokens.put(bytes([0]))
    stage.wait(0.2)
    stage.turn()
    assert stage.states(done, waiting) == ["completed", "available"]
