"""Consumers fetch tasks from an owner: in the queue's order, each with one at a time, settled once."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from callboard.actors.crew import Moment
from callboard.actors.errors import StoreUnavailable
from callboard.actors.leases import Leases
from callboard.actors.messages import DeadTask, Given
from callboard.actors.pulling import Exchange
from callboard.actors.store import TaskFilter
from callboard.actors.suspicion import ALONE
from callboard.actors.task import TaskState
from callboard.actors.window import Window
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.consumers import Held, exchange, fetch, places, say, want
from tests.support.made_tasks import NO_BACKOFF, WALL, new_task, ready_task
from tests.support.stages import Stage

NO_WORKERS = QueueSettings()
ONE_WORKER = QueueSettings(worker="tests:work", concurrency=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue that has no workers."""
    stage = Stage(tmp_path, settings=NO_WORKERS)
    stage.staff()
    yield stage
    stage.close()


def test_an_empty_queue_gives_nothing(stage: Stage) -> None:
    assert exchange(stage, want(5)) == ([], [((), False)])


def test_tasks_are_fetched_by_priority_and_in_their_order(stage: Stage) -> None:
    tasks = [new_task(priority=priority) for priority in (0, 0, 1, 5, 0)]
    stage.submit(*tasks)
    first = fetch(stage, 2)
    assert places(first + fetch(stage, 9), tasks) == [3, 2, 0, 1, 4]


def test_a_fetched_task_is_executing_and_counted_and_nobody_else_gets_it(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    assert held.task_id == task.id
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, stored.started_at) == ("executing", 1, stage.wall)
    assert fetch(stage) == []
    assert stage.store.counts()["mail"][TaskState.EXECUTING] == 1


def test_an_acknowledged_task_is_completed_with_its_result(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    began = stage.wall
    stage.wait(0.5)
    assert say(stage, held.ack('{"w": 1}')) == ["done"]
    stored = stage.task(task.id)
    assert (stored.state, stored.result, stored.attempt) == ("completed", {"w": 1}, 1)
    assert (stored.started_at, stored.finished_at) == (began, stage.wall)
    assert stage.owned.hand_outs() == []


def test_a_failed_task_waits_for_its_backoff_and_is_fetched_again(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    assert say(stage, held.fail("out of paper")) == ["done"]
    stored = stage.task(task.id)
    assert (stored.state, stored.run_at) == ("retryable", stage.wall + 1_000_000)
    assert [(error["kind"], error["message"], error["charged"]) for error in stored.errors] == [
        ("error", "out of paper", True)
    ]
    assert fetch(stage) == []
    stage.wait(1.0)
    (again,) = fetch(stage)
    assert (again.task_id, stage.task(task.id).attempt) == (task.id, 2)
    assert again.number > held.number


@pytest.mark.parametrize(("max_retries", "discard"), [(0, False), (3, True)])
def test_a_task_that_may_fail_no_more_is_dead(stage: Stage, max_retries: int, discard: bool) -> None:
    task = new_task(max_retries=max_retries)
    stage.submit(task)
    (held,) = fetch(stage)
    say(stage, held.fail(discard=discard))
    assert stage.states(task) == ["dead"]
    assert stage.owner.dead == [DeadTask(task.id, "mail", stage.wall, stage.owner.dead[0].kind, "no")]


def test_an_expired_lease_is_a_failed_attempt(stage: Stage) -> None:
    task = new_task(max_retries=1, backoff=NO_BACKOFF)
    stage.submit(task)
    fetch(stage, lease_ms=700, consumer="ada")
    stage.wait(0.699)
    stage.turn()
    assert stage.states(task) == ["executing"]
    stage.wait_for_next_look()
    stored = stage.task(task.id)
    assert stored.state == "retryable"
    assert [(error["kind"], error["charged"], error["attempt"]) for error in stored.errors] == [("expired", True, 1)]
    assert "'ada'" in stored.errors[0]["message"]
    fetch(stage, lease_ms=1)
    stage.wait(1)
    stage.turn()
    assert stage.states(task) == ["dead"]
    assert stage.owned.hand_outs() == []


def test_a_claim_is_stale_when_its_lease_has_expired(stage: Stage) -> None:
    task = new_task(backoff=NO_BACKOFF)
    stage.submit(task)
    (late,) = fetch(stage, lease_ms=100)
    stage.wait(0.1)
    stage.turn()
    (other,) = fetch(stage)
    assert other.task_id == task.id
    assert say(stage, late.ack(), late.fail(), late.heartbeat()) == ["stale"] * 3
    assert stage.states(task) == ["executing"]
    assert say(stage, other.ack()) == ["done"]


def test_a_word_that_comes_with_the_end_of_the_lease_is_late(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage, lease_ms=100)
    stage.wait(0.1)
    assert say(stage, held.ack()) == ["stale"]
    assert stage.states(task) == ["retryable"]


def test_a_heartbeat_renews_the_lease(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage, lease_ms=1_000)
    for _ in range(5):
        stage.wait(0.9)
        assert say(stage, held.heartbeat(1_000)) == ["done"]
    assert stage.states(task) == ["executing"]
    stage.wait(1.0)
    stage.turn()
    assert stage.states(task) == ["retryable"]


def test_what_was_said_twice_is_good_once_and_an_ack_always(stage: Stage) -> None:
    acked, failed = new_task(), new_task()
    stage.submit(acked, failed)
    good, bad = fetch(stage, 2)
    assert say(stage, good.ack(), good.ack(), good.fail(), bad.fail()) == ["done", "done", "stale", "done"]
    assert say(stage, good.ack("7"), good.fail(), good.heartbeat(), bad.fail()) == ["done", "stale", "stale", "stale"]
    assert stage.states(acked, failed) == ["completed", "retryable"]
    assert stage.task(acked.id).result is None


def test_an_ack_and_a_fail_in_one_message_are_taken_in_their_order(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    assert say(stage, held.heartbeat(), held.fail(), held.ack(), held.heartbeat()) == ["done", "done", "stale", "stale"]
    assert stage.states(task) == ["retryable"]
    assert stage.owned.hand_outs() == []


def test_nobody_knows_a_task_that_is_not_there(stage: Stage) -> None:
    stranger = Held("no such task", 1)
    assert say(stage, stranger.ack(), stranger.fail(), stranger.heartbeat()) == ["unknown"] * 3


def test_a_made_up_claim_is_stale(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    assert say(stage, Held(task.id, 99).ack()) == ["stale"]
    (held,) = fetch(stage)
    assert say(stage, Held(task.id, held.number + 1).ack()) == ["stale"]
    assert stage.states(task) == ["executing"]


def test_what_is_settled_makes_room_for_the_next_in_the_same_message(stage: Stage) -> None:
    tasks = [new_task(), new_task()]
    stage.submit(*tasks)
    (held,) = fetch(stage)
    settled, (given,) = exchange(stage, held.ack(), want())
    assert (settled, [task_id for task_id, _ in given.leases]) == (["done"], [tasks[1].id])


def test_the_same_want_sent_again_gets_what_it_got(stage: Stage) -> None:
    tasks = [new_task() for _ in range(4)]
    stage.submit(*tasks)
    held = fetch(stage, 2, want_id="once")
    assert fetch(stage, 2, want_id="once") == held
    say(stage, held[0].ack())
    assert fetch(stage, 2, want_id="once") == held[1:]
    say(stage, held[1].ack())
    assert places(fetch(stage, 2, want_id="once"), tasks) == [2, 3]


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_lease_outlives_its_owner(stage: Stage, power_cut: bool) -> None:
    tasks = [new_task() for _ in range(3)]
    stage.submit(*tasks)
    held = fetch(stage, 3, lease_ms=10_000, want_id="once")
    stage.wait(4)
    say(stage, held[1].heartbeat(10_000))
    stage.restart(power_cut=power_cut)
    stage.turn()
    assert stage.states(*tasks) == ["executing"] * 3
    assert fetch(stage) == []
    assert fetch(stage, 3, want_id="once") == held
    assert say(stage, held[0].ack()) == ["done"]
    stage.wait(6)
    stage.turn()
    assert stage.states(*tasks) == ["completed", "executing", "retryable"]
    stage.restart()
    assert say(stage, held[1].ack(), held[2].ack()) == ["done", "stale"]
    assert stage.task(tasks[1].id).attempt == 1
    assert stage.owned.hand_outs() == []


def test_a_lease_that_ends_while_nobody_owns_the_queue_expires_when_somebody_does(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage, lease_ms=1_000)
    stage.wait(5)
    stage.restart()
    assert say(stage, held.ack()) == ["stale"]
    assert stage.task(task.id).errors[0]["kind"] == "expired"


def test_an_ack_that_its_owner_stored_and_did_not_answer_is_good(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    say(stage, held.ack("1"))
    stage.restart()
    assert say(stage, held.ack("1")) == ["done"]
    assert stage.task(task.id).result == 1


def test_nothing_is_fetched_from_a_paused_queue_but_what_is_held_can_be_settled(stage: Stage) -> None:
    tasks = [new_task(), new_task()]
    stage.submit(*tasks)
    (held,) = fetch(stage)
    stage.owner.set_paused(stage.now, paused=True)
    assert exchange(stage, held.ack(), want()) == (["done"], [((), False)])
    stage.owner.set_paused(stage.now, paused=False)
    assert places(fetch(stage), tasks) == [1]


def test_a_cancelled_task_makes_its_claim_stale_at_once(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (held,) = fetch(stage)
    stage.commands.cancel("r", (task.id,), "me", stage.now)
    stage.perform()
    assert stage.replies[-1][1].changed == (task.id,)
    stored = stage.task(task.id)
    assert (stored.state, stored.attempt, stored.started_at) == ("cancelled", 1, stage.wall)
    assert say(stage, held.heartbeat(), held.ack()) == ["stale", "stale"]
    stage.wait(2)
    stage.turn()
    stage.restart()
    assert (stage.states(task), stage.owned.hand_outs()) == (["cancelled"], [])


def test_a_cancelled_and_retried_task_is_not_its_first_consumers(stage: Stage) -> None:
    task = new_task()
    stage.submit(task)
    (first,) = fetch(stage)
    stage.commands.cancel("r", (task.id,), "me", stage.now)
    stage.commands.retry("r", (task.id,), stage.now, keep_attempts=False)
    (second,) = fetch(stage)
    assert say(stage, first.ack()) == ["stale"]
    stage.restart()
    assert say(stage, first.ack(), second.ack()) == ["stale", "done"]


@pytest.mark.parametrize("breakage", [Breakage.BEGIN, Breakage.COMMIT, Breakage.READ])
def test_a_store_that_fails_leaves_everything_as_it_was(stage: Stage, breakage: Breakage) -> None:
    tasks = [new_task(), new_task()]
    stage.submit(*tasks)
    (held,) = fetch(stage)
    stage.owned.breakage = breakage
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            exchange(stage, held.ack(), want())
    stage.owned.breakage = Breakage.NONE
    stage.wait(0.2)
    settled, (given,) = exchange(stage, held.ack(), want())
    assert (settled, [task_id for task_id, _ in given.leases]) == (["done"], [tasks[1].id])


def test_workers_and_consumers_share_one_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=ONE_WORKER)
    stage.staff()
    tasks = [new_task() for _ in range(4)]
    stage.submit(*tasks)
    assert [task.id for task in stage.sent[-1].tasks] == [tasks[0].id]
    (held,) = fetch(stage)
    assert held.task_id == tasks[1].id
    stage.do_all(stage.worker)
    assert [task.id for task in stage.sent[-1].tasks] == [task.id for task in tasks[2:]]
    assert fetch(stage, 9) == []
    stage.close()


def test_much_context_is_given_in_parts(stage: Stage) -> None:
    tasks = [new_task(context='{"a": "' + "x" * 400_000 + '"}') for _ in range(4)]
    stage.submit(*tasks)
    assert places(fetch(stage, 4), tasks) == [0, 1]
    huge = new_task(context='{"a": "' + "x" * 2_000_000 + '"}', priority=1)
    stage.submit(huge)
    assert [held.task_id for held in fetch(stage, 4)] == [huge.id]


def test_what_lies_behind_the_window_is_told_of_and_fetched_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=NO_WORKERS, window=4)
    tasks = [new_task() for _ in range(20)]
    for task in tasks:
        stage.submit(task)
    _, (first, second) = exchange(stage, want(10), want(10))
    assert (len(first.leases) > 0, second.leases, second.more) == (True, (), True)
    found = [task_id for task_id, _ in first.leases]
    while held := fetch(stage, 10):
        found += [one.task_id for one in held]
    assert found == [task.id for task in tasks]
    stage.close()


def test_what_must_run_alone_does_not_keep_consumers_from_what_lies_behind_it(tmp_path: Path) -> None:
    """Where the queue has workers of its own: they are for what must run alone."""
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    suspects = [ready_task(str(rank), rank=rank, context="x" * 700_000, interruptions=ALONE) for rank in range(4)]
    stage.owner.window.filled(suspects, everything=False, elsewhere=())
    task = new_task()
    stage.submit(task)
    assert [held.task_id for held in fetch(stage)] == [task.id]
    stage.close()


def test_nobody_is_told_to_ask_again_when_the_window_can_not_be_filled() -> None:
    window = Window(8)
    for first in (1, 9):
        rows = [ready_task(str(rank), rank=rank, interruptions=ALONE) for rank in range(first, first + 8)]
        window.filled(rows, everything=False, elsewhere=())
    asked = Exchange((), (want(),))
    asked.serve(Leases(), window, count(1), Moment(WALL, 1_000.0), closed=False, all_of_it=False)
    assert asked.given == [Given((), more=False)]


def test_an_empty_queue_costs_no_transaction(stage: Stage) -> None:
    version = stage.store.version()
    for _ in range(3):
        fetch(stage)
    assert stage.store.version() == version
    assert stage.store.page(TaskFilter(), 10, None).tasks == []
