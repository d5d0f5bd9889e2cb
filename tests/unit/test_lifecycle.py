"""What follows from each thing that can happen to a task."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.lifecycle import MAX_INTERRUPTIONS, Failed, begin, cancel, fail, give_back, retry_by_hand
from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.store import ReadyTask
from callboard.actors.task import CLAIMED, ErrorKind, TaskState
from tests.support.made_tasks import NO_BACKOFF, ready_task

NOW = 5_000_000
FAILURE = Failed(ErrorKind.ERROR, "no", started_at=1_000, finished_at=NOW)
INTERRUPTION = Failed(ErrorKind.INTERRUPTED, "stopped", started_at=1_000, finished_at=NOW)
RNG = random.Random(0)
HANDED_OUT = ("available", CLAIMED, "executing")
"""What the store may say of a task that a worker has."""


@pytest.mark.parametrize("state", ["available", CLAIMED])
def test_a_task_that_begins_is_executing_and_its_attempt_counts(state: str) -> None:
    update = begin(ready_task(state=state, attempt=2, failures=1, interruptions=1), 77)
    assert (update.was, update.state, update.attempt, update.started_at) == (state, "executing", 3, 77)
    assert (update.failures, update.interruptions, update.finished_at, update.error) == (1, 1, None, None)


@pytest.mark.parametrize(
    ("state", "attempt", "expected"),
    [
        ("available", 1, None),  # handed out in a batch: the row never changed
        (CLAIMED, 0, ("available", 0)),  # stored already handed out
        ("executing", 2, ("available", 1)),  # handed out alone: its attempt was counted too early
    ],
)
def test_a_task_that_was_not_begun_goes_back_as_if_nothing_had_happened(
    state: str, attempt: int, expected: tuple[str, int] | None
) -> None:
    task = ready_task(state=state, attempt=attempt, lane=-3, rank=9, failures=2)
    update = give_back(task)
    if expected is None:
        assert update is None
    else:
        assert update is not None
        assert (update.state, update.attempt) == expected
        assert (update.lane, update.rank, update.failures, update.error) == (-3, 9, 2, None)


@pytest.mark.parametrize(
    ("state", "attempt"),
    [
        ("available", 1),  # in a batch: the store knows of the attempts before this one only
        (CLAIMED, 1),
        ("executing", 2),  # the attempt is counted already
    ],
)
def test_a_failed_attempt_is_numbered_whatever_the_store_said_of_it(state: str, attempt: int) -> None:
    transition = fail(ready_task(state=state, attempt=attempt), 4, FAILURE, RNG)
    assert transition.update.attempt == 2
    assert transition.update.was == state
    assert transition.error is not None
    assert transition.error.attempt == 2


def test_a_failure_with_budget_left_waits_for_its_backoff() -> None:
    task = ready_task(failures=1, interruptions=3, max_retries=3, lane=-1, rank=8)
    update = fail(task, 4, FAILURE, RNG).update
    assert (update.state, update.failures, update.interruptions) == ("retryable", 2, 0)
    assert (update.run_at, update.started_at, update.finished_at) == (NOW + 1_000_000, 1_000, None)
    assert (update.hand_out, update.lane, update.rank) == (4, -1, 8)


def test_the_wait_follows_from_the_number_of_failures() -> None:
    backoff = json.dumps(Backoff(BackoffStrategy.EXPONENTIAL, base_ms=10).to_json())
    waits = [fail(ready_task(backoff=backoff, failures=n, max_retries=9), 1, FAILURE, RNG).update.run_at for n in range(4)]
    assert waits == [NOW + 10_000, NOW + 20_000, NOW + 40_000, NOW + 80_000]


def test_without_a_backoff_a_task_is_due_at_once() -> None:
    update = fail(ready_task(backoff=NO_BACKOFF), 1, FAILURE, RNG).update
    assert (update.state, update.run_at) == ("retryable", NOW)


@pytest.mark.parametrize(("failures", "max_retries"), [(0, 0), (3, 3), (5, 3)])
def test_a_failure_without_budget_is_the_last(failures: int, max_retries: int) -> None:
    update = fail(ready_task(failures=failures, max_retries=max_retries), 4, FAILURE, RNG).update
    assert (update.state, update.failures, update.finished_at, update.run_at) == ("dead", failures + 1, NOW, NOW)


def test_a_discarded_task_is_dead_whatever_its_budget() -> None:
    failure = Failed(ErrorKind.ERROR, "never", started_at=1_000, finished_at=NOW, discard=True)
    assert fail(ready_task(), 4, failure, RNG).update.state == "dead"


def test_the_error_is_kept_as_people_will_see_it() -> None:
    failure = Failed(ErrorKind.CRASH, "died", started_at=1_000, finished_at=NOW, traceback="trace", exit="SIGSEGV")
    transition = fail(ready_task(), 4, failure, RNG)
    assert transition.update.error is not None
    assert json.loads(transition.update.error) == {
        "attempt": 1,
        "at": "1970-01-01T00:00:05.000Z",
        "kind": "crash",
        "message": "died",
        "charged": True,
        "traceback": "trace",
        "exit": "SIGSEGV",
    }


@pytest.mark.parametrize("state", HANDED_OUT)
def test_an_interrupted_task_goes_back_to_its_place_uncharged(state: str) -> None:
    task = ready_task(state=state, failures=3, max_retries=3, interruptions=2, lane=-2, rank=7)
    transition = fail(task, 4, INTERRUPTION, RNG)
    update = transition.update
    assert (update.state, update.failures, update.interruptions) == ("available", 3, 3)
    assert (update.lane, update.rank, update.run_at, update.hand_out) == (-2, 7, None, 4)
    assert transition.error is not None
    assert not transition.error.charged


def test_too_many_interruptions_in_a_row_are_charged() -> None:
    transition = fail(ready_task(interruptions=MAX_INTERRUPTIONS, failures=1), 4, INTERRUPTION, RNG)
    assert (transition.update.state, transition.update.failures, transition.update.interruptions) == ("retryable", 2, 0)
    assert transition.error is not None
    assert transition.error.charged
    assert transition.error.kind == "interrupted"


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 5))
def test_a_task_dies_of_charged_failures_alone(interrupted: list[bool], max_retries: int) -> None:
    """Whatever fails it and in whatever order: dead exactly when the charged failures exceed the budget."""
    task, charged, in_a_row = ready_task(max_retries=max_retries), 0, 0
    for attempt, is_interruption in enumerate(interrupted, 1):
        transition = fail(task, attempt, INTERRUPTION if is_interruption else FAILURE, RNG)
        assert transition.error is not None
        is_charged = not is_interruption or in_a_row == MAX_INTERRUPTIONS
        charged, in_a_row = (charged + 1, 0) if is_charged else (charged, in_a_row + 1)
        assert transition.error.charged == is_charged
        assert (transition.update.attempt, transition.update.failures) == (attempt, charged)
        assert (transition.update.state == "dead") == (charged > max_retries)
        if transition.update.state == "dead":
            return
        update = transition.update
        task = task._replace(attempt=update.attempt, failures=update.failures, interruptions=update.interruptions)


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("state", [CLAIMED, *(state for state in TaskState)])
def test_every_task_can_be_cancelled_until_it_has_ended(state: str) -> None:
    update = cancel(ready_task(state=state, attempt=1), NOW)
    if state in {"completed", "dead", "cancelled"}:
        assert update is None
    else:
        assert update is not None
        assert (update.state, update.finished_at, update.error) == ("cancelled", NOW, None)


@pytest.mark.parametrize(
    ("state", "stored", "number", "attempt"),
    [
        ("retryable", 2, None, 2),  # it waits
        ("available", 2, 9, 3),  # it ran, as one of a batch
        (CLAIMED, 0, 9, 1),  # it ran, as one of a batch
        ("executing", 3, 9, 3),  # it ran, and the store knew
        ("executing", 3, None, 2),  # the store took it for running, but it had not begun
    ],
)
def test_a_cancelled_task_counts_the_attempts_that_were_begun(
    state: str, stored: int, number: int | None, attempt: int
) -> None:
    update = cancel(ready_task(state=state, attempt=stored, hand_out=4), NOW, number, None if number is None else 66)
    assert update is not None
    assert update.attempt == attempt
    assert update.hand_out == (4 if number is None else 9)
    assert update.started_at == (None if number is None else 66)


@pytest.mark.parametrize(("max_retries", "state"), [(1, "cancelled"), (0, "dead")])
def test_a_task_that_fails_while_it_is_being_cancelled_is_not_retried(max_retries: int, state: str) -> None:
    transition = fail(ready_task(max_retries=max_retries), 4, FAILURE, RNG, unwanted=True)
    assert (transition.update.state, transition.update.finished_at) == (state, NOW)
    assert transition.error is not None
    assert transition.error.charged


def retried(task: ReadyTask, *, keep_attempts: bool = False) -> tuple[object, ...] | None:
    update = retry_by_hand(task, NOW, -5, 99, keep_attempts=keep_attempts)
    if update is None:
        return None
    return (update.state, update.attempt, update.failures, update.interruptions, update.lane, update.rank, update.run_at)


@pytest.mark.parametrize("state", ["completed", "dead", "cancelled"])
def test_an_ended_task_is_retried_with_a_fresh_budget_at_the_back(state: str) -> None:
    task = ready_task(state=state, attempt=4, failures=4, interruptions=1, lane=-1, rank=7)
    assert retried(task) == ("available", 0, 0, 0, -5, 99, NOW)
    assert retried(task, keep_attempts=True) == ("available", 4, 0, 0, -5, 99, NOW)


@pytest.mark.parametrize("state", ["available", CLAIMED, "executing", "scheduled", "retryable"])
def test_a_task_that_has_not_ended_can_not_be_retried(state: str) -> None:
    assert retried(ready_task(state=state)) is None


def test_a_retried_tasks_result_and_end_are_forgotten() -> None:
    update = retry_by_hand(ready_task(state="completed"), NOW, 0, 9, keep_attempts=False)
    assert update is not None
    assert (update.result, update.finished_at, update.started_at) == (None, None, None)
