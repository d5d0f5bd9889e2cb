"""How many tasks go into one batch follows from how long they usually run."""

import pytest

from callboard.actors.hand_out import MAX_BATCH
from callboard.actors.run_times import BATCH_MICROSECONDS, RunTimes
from tests.support.made_tasks import ready_task

NOW = 1_000_000_000
TASK = ready_task(type="resize")


def fitting(run_times: RunTimes, now: int = NOW) -> int:
    """How many such tasks make a batch."""
    return int(BATCH_MICROSECONDS / run_times.expected(TASK, now))


@pytest.mark.parametrize(
    ("microseconds", "count"),
    [
        (0, MAX_BATCH),  # a no-op: as many as there are tokens
        (1_000, 20),  # a millisecond each: twenty make twenty
        (9_000, 2),
        (20_000, 1),
        (60_000_000, 0),  # a minute: more than a batch by itself
    ],
)
def test_a_batch_is_about_twenty_milliseconds_of_work(microseconds: float, count: int) -> None:
    run_times = RunTimes()
    run_times.ran("resize", microseconds)
    assert fitting(run_times) == count


def test_a_type_that_has_never_run_goes_alone() -> None:
    run_times = RunTimes()
    run_times.ran("other", 0)
    assert fitting(run_times) == 1


def test_a_task_that_has_failed_before_goes_alone() -> None:
    run_times = RunTimes()
    run_times.ran("resize", 0)
    assert run_times.expected(TASK._replace(failures=1), NOW) == BATCH_MICROSECONDS


def test_the_mean_follows_what_tasks_have_taken_lately() -> None:
    run_times = RunTimes()
    run_times.ran("resize", 1_000)
    run_times.ran("resize", 2_000)
    assert run_times.expected(TASK, NOW) == pytest.approx(1_200)
    for _ in range(50):
        run_times.ran("resize", 10_000)
    assert run_times.expected(TASK, NOW) == pytest.approx(10_000, rel=0.01)


def test_after_a_crash_tasks_of_that_type_go_alone_for_a_while() -> None:
    run_times = RunTimes()
    for type_ in ("resize", "other"):
        run_times.ran(type_, 0)
    run_times.crashed({"other"}, NOW)
    assert fitting(run_times) == MAX_BATCH
    run_times.crashed({"resize"}, NOW)
    assert fitting(run_times, NOW + 4_999_999) == 1
    assert fitting(run_times, NOW + 5_000_000) == MAX_BATCH
