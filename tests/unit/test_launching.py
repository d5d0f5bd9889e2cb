"""Which tasks go to which worker: in order, shared out, and in batches only where that pays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callboard.actors.hand_out import MAX_BATCH
from callboard.actors.messages import RunTask
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import new_task
from tests.support.stages import Stage

MILLISECOND = 1_000


@pytest.fixture
def open_stage(tmp_path: Path) -> Iterator[Callable[[int], Stage]]:
    stages: list[Stage] = []

    def open_one(concurrency: int) -> Stage:
        settings = QueueSettings(worker="tests:work", concurrency=concurrency)
        stages.append(Stage(tmp_path, settings=settings))
        return stages[-1]

    yield open_one
    for stage in stages:
        stage.close()


def sizes(stage: Stage) -> list[int]:
    return [len(run.tasks) for run in stage.sent]


def test_a_new_task_goes_straight_to_an_idle_worker(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    stage.staff()
    task = new_task(context='{"a": 1}', max_retries=7, timeout_ms=99)
    commits = stage.owned.commits
    stage.submit(task)
    assert stage.owned.commits == commits + 1
    assert stage.sent[0].tasks == (RunTask(task.id, "work", '{"a": 1}', 1, 7, 99),)
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, stored.started_at) == ("executing", 1, stage.wall)


def test_a_new_task_that_has_to_wait_is_stored_as_waiting(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    task = new_task()
    stage.submit(task)
    assert stage.states(task) == ["available"]
    stage.staff()
    assert stage.states(task) == ["executing"]


@pytest.mark.parametrize(
    ("microseconds", "tasks", "batches"),
    [
        (None, 5, [1, 1, 1]),  # nobody knows how long they take: one for each worker
        (30_000 * MILLISECOND, 5, [1, 1, 1]),  # long ones
        (5 * MILLISECOND, 9, [3, 3, 3]),  # shared out evenly, though four would fit
        (5 * MILLISECOND, 30, [4, 4, 4]),  # about 20 ms each, the rest waits
        (5 * MILLISECOND, 2, [1, 1]),  # no worker stays idle while another has two
        (10, 90, [90]),  # done before a second worker would have its message
        (10, 300, [100, 100, 100]),  # enough for three messages
        (0, 1_000, [MAX_BATCH, MAX_BATCH, MAX_BATCH]),  # as many as there are tokens
    ],
)
def test_tasks_are_shared_out_in_batches_of_about_20_ms(
    open_stage: Callable[[int], Stage], microseconds: int | None, tasks: int, batches: list[int]
) -> None:
    stage = open_stage(3)
    if microseconds is not None:
        stage.owner.run_times.ran("work", microseconds)
    stage.submit(*(new_task() for _ in range(tasks)))
    stage.staff()
    assert sizes(stage) == batches


def test_a_message_carries_a_megabyte_of_contexts_at_most(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    stage.owner.run_times.ran("work", 0)
    stage.submit(*(new_task(context=f'"{"x" * 400_000}"') for _ in range(3)))
    stage.submit(new_task(context=f'"{"x" * 1_500_000}"', priority=1))
    stage.staff()
    stage.do_all(stage.worker)
    assert sizes(stage) == [1, 2]


def test_the_more_urgent_goes_first_and_among_equals_the_older(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    stage.owner.run_times.ran("work", 0)
    old, newer, urgent, lazy = new_task(), new_task(), new_task(priority=1), new_task(priority=-1)
    for task in (lazy, old, newer, urgent):
        stage.submit(task)
        stage.wait(0.5)
    stage.staff()
    assert [run.id for run in stage.sent[0].tasks] == [urgent.id, old.id, newer.id, lazy.id]


def test_a_clock_that_is_set_back_breaks_no_order(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    stage.owner.run_times.ran("work", 0)
    tasks = []
    for _ in range(5):
        tasks.append(new_task())
        stage.submit(tasks[-1])
        stage.wall -= 3_600_000_000
    stage.restart()
    stage.owner.run_times.ran("work", 0)
    tasks.append(new_task())
    stage.submit(tasks[-1])
    stage.staff()
    assert [run.id for run in stage.sent[0].tasks] == [task.id for task in tasks]


def test_a_queue_of_concurrency_zero_hands_out_nothing(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(0)
    task = new_task()
    stage.submit(task)
    stage.staff()
    assert stage.workers == {}
    assert stage.states(task) == ["available"]


def test_no_more_run_than_may_though_more_workers_are_there(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(3)
    stage.staff()
    stage.owner.scale(1)
    stage.submit(new_task(), new_task(), new_task())
    assert sizes(stage) == [1]


def test_a_task_of_a_batch_is_stored_as_claimed_until_it_is_seen_running(open_stage: Callable[[int], Stage]) -> None:
    stage = open_stage(1)
    stage.owner.run_times.ran("work", 0)
    stage.staff()
    first, second = new_task(timeout_ms=1_000_000), new_task()
    stage.submit(first, second)
    assert [task.state for task in stage.owned.load([first.id, second.id])] == ["claimed", "claimed"]
    assert stage.owned.hand_outs()[0].ids == (first.id, second.id)
    stage.worker.take()
    stage.worker.begin(stage.wall + 3)
    stage.wait(0.1)
    stage.turn()
    stored = stage.task(first.id)
    assert (stored.state, stored.attempt, stored.started_at) == ("executing", 1, stage.wall - 100_000 + 3)
    assert stage.states(second) == ["available"]
    assert stage.owned.hand_outs()[0].ids == (first.id, "")
