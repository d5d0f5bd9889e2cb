"""Who is to blame for the death of a process in which several tasks ran."""

import json
import random

import pytest

from callboard.actors.lifecycle import MAX_INTERRUPTIONS, Failed, fail, judge, suspect
from callboard.actors.store import Ruling
from callboard.actors.suspicion import Standing, in_a_row, standing
from callboard.actors.task import ErrorKind
from callboard.actors.window import Window
from tests.support.made_tasks import ready_task

NOW = 5_000_000
CRASH = Failed(ErrorKind.CRASH, "died", started_at=1_000, finished_at=NOW, exit="SIGSEGV")
INTERRUPTION = Failed(ErrorKind.INTERRUPTED, "stopped", started_at=1_000, finished_at=NOW)
RNG = random.Random(0)


def test_a_suspect_is_charged_and_goes_back_at_once_even_if_that_was_all_its_budget() -> None:
    task = ready_task(state="executing", attempt=3, failures=2, max_retries=2, interruptions=4, rank=7)
    transition = suspect(task, 9, CRASH)
    update = transition.update
    assert (update.state, update.attempt, update.failures, update.hand_out, update.rank) == ("available", 3, 3, 9, 7)
    assert (update.run_at, update.finished_at) == (None, None)
    assert json.loads(update.error or "") == {
        "attempt": 3,
        "at": "1970-01-01T00:00:05.000Z",
        "kind": "crash",
        "message": "died",
        "charged": True,
        "suspect": True,
        "exit": "SIGSEGV",
    }
    assert standing(task._replace(interruptions=update.interruptions)) is Standing.SUSPECT


SUSPECT = ready_task(failures=2, interruptions=int(Standing.SUSPECT) + 3)


@pytest.mark.parametrize("kind", [None, ErrorKind.ERROR, ErrorKind.RETURNED, ErrorKind.TIMEOUT])
def test_whatever_does_not_crash_alone_gets_its_charge_back(kind: ErrorKind | None) -> None:
    task, ruling = judge(SUSPECT, kind)
    assert ruling == Ruling(SUSPECT.id, guilty=False)
    assert task == SUSPECT._replace(failures=1, interruptions=0)


def test_what_crashes_alone_is_guilty_and_stays_alone() -> None:
    task, ruling = judge(SUSPECT, ErrorKind.CRASH)
    assert ruling == Ruling(SUSPECT.id, guilty=True)
    update = fail(task, 1, CRASH, RNG).update
    assert (update.failures, standing(task._replace(interruptions=update.interruptions))) == (3, Standing.GUILTY)
    again = judge(task, None)
    assert again == (task, None)  # what it is guilty of is not forgiven when it ends well later


def test_an_interruption_proves_nothing() -> None:
    task, ruling = judge(SUSPECT, ErrorKind.INTERRUPTED)
    assert (task, ruling) == (SUSPECT, None)
    update = fail(task, 1, INTERRUPTION, RNG).update
    assert (update.state, update.failures, update.interruptions) == ("available", 2, SUSPECT.interruptions + 1)


def test_a_suspect_is_interrupted_as_often_as_any_other() -> None:
    task = SUSPECT._replace(interruptions=int(Standing.SUSPECT) + MAX_INTERRUPTIONS)
    update = fail(task, 1, INTERRUPTION, RNG).update
    assert (update.state, update.failures) == ("retryable", 3)
    assert update.interruptions == Standing.SUSPECT


def test_one_that_nobody_suspects_is_not_judged() -> None:
    task = ready_task(failures=1, interruptions=3)
    assert judge(task, ErrorKind.CRASH) == (task, None)
    assert in_a_row(task) == 3


# ---------------------------------------------------------------- in the window


def test_those_that_must_run_alone_are_kept_apart_in_order() -> None:
    window = Window(8, 1_000)
    window.filled([], everything=True, elsewhere=())
    tasks = [ready_task(f"t{rank}", rank=rank, interruptions=1_000 * (rank % 2)) for rank in range(6)]
    for task in reversed(tasks):
        window.push(task)
    assert (len(window), window.alone) == (6, 3)
    window.discard(["t1"])
    found = []
    while (task_ := window.peek_alone()) is not None:
        window.take_alone(task_)
        found.append(task_.id)
    assert found == ["t3", "t5"]
    first = window.peek()
    assert first is not None
    assert (first.id, len(window), window.alone) == ("t0", 3, 0)


def test_they_are_left_to_the_store_like_others_when_there_are_too_many() -> None:
    window = Window(4, 1_000)
    window.filled([], everything=True, elsewhere=())
    for rank in range(9):
        window.push(ready_task(f"t{rank}", rank=rank, interruptions=1_000 * (rank % 2)))
    assert window.edge == (0, 3)
    assert [task_id for task_id in (f"t{rank}" for rank in range(9)) if task_id in window] == ["t0", "t1", "t2", "t3"]
    assert window.alone == 2
