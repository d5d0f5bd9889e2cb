"""Which submissions a queue accepts, and the places that their tasks get."""

from collections.abc import Iterator

import pytest

from callboard.actors.admission import Arrivals, admit
from callboard.actors.lifecycle import cancel
from callboard.actors.messages import Outcome, Submission, Verdict
from callboard.actors.store import Change, Insert, KeyUse, Transaction
from callboard.actors.store.memory import MemoryStore
from callboard.actors.task import NewTask, TaskState
from tests.support.made_tasks import WALL, new_task

QUEUE = "mail"
DAY = 24 * 3600 * 1_000_000


class Clock:
    now = WALL

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore(clock=clock)
    for name in (QUEUE, "other"):
        store.put_queue(name, "{}", "", WALL)
    return store


@pytest.fixture
def transaction(store: MemoryStore) -> Iterator[Transaction]:
    with store.own(QUEUE)[0].transaction() as transaction:
        yield transaction


def stored(store: MemoryStore, *tasks: NewTask, queue: str = QUEUE, key: str = "", fingerprint: str = "print") -> None:
    """Store tasks as an earlier request left them."""
    keys = [KeyUse(key, fingerprint, tuple(task.id for task in tasks), queue)] if key else []
    with store.own(queue)[0].transaction() as transaction:
        transaction.apply(Change(inserts=[Insert(task, "available", 0, rank) for rank, task in enumerate(tasks)], keys=keys))


def judged(
    transaction: Transaction, *submissions: Submission, room: int | None = None, closed: bool = False
) -> tuple[Arrivals, list[str]]:
    arrivals = Arrivals(submissions)
    admit(arrivals, transaction, QUEUE, room, closed=closed)
    return arrivals, [str(verdict.outcome) for verdict in arrivals.verdicts]


def submission(*tasks: NewTask, key: str = "", fingerprint: str = "print", resent: bool = False) -> Submission:
    return Submission(tasks or (new_task(),), key, fingerprint if key else "", resent)


# ---------------------------------------------------------------- verdicts


def test_submissions_are_accepted_in_their_order(transaction: Transaction) -> None:
    first, second = submission(new_task(), new_task()), submission()
    arrivals, outcomes = judged(transaction, first, second)
    assert outcomes == ["accepted", "accepted"]
    assert arrivals.accepted == [*first.tasks, *second.tasks]
    assert arrivals.keys == []


def test_a_queue_takes_no_more_than_there_is_room_for(transaction: Transaction) -> None:
    """A submission is taken as a whole or not at all; a smaller one after it may still fit."""
    large, small = submission(new_task(), new_task(), new_task()), submission()
    arrivals, outcomes = judged(transaction, submission(), large, small, submission(), room=2)
    assert outcomes == ["accepted", "full", "accepted", "full"]
    assert len(arrivals.accepted) == 2
    assert "max_length" in arrivals.verdicts[1].detail


@pytest.mark.parametrize("room", [0, -5])  # -5: max_length was lowered below what is there
def test_a_full_queue_takes_nothing(transaction: Transaction, room: int) -> None:
    assert judged(transaction, submission(), room=room)[1] == ["full"]


def test_a_draining_queue_takes_nothing_new_and_says_so(transaction: Transaction) -> None:
    arrivals, outcomes = judged(transaction, submission(), closed=True)
    assert outcomes == ["full"]
    assert "draining" in arrivals.verdicts[0].detail


# ---------------------------------------------------------------- sent again


def test_what_was_stored_before_the_answer_was_lost_is_accepted_and_not_stored_again(store: MemoryStore) -> None:
    old, new = new_task(), new_task()
    stored(store, old)
    with store.own(QUEUE)[0].transaction() as transaction:
        arrivals, outcomes = judged(transaction, submission(old, new, resent=True))
    assert outcomes == ["accepted"]
    assert arrivals.accepted == [new]


@pytest.mark.parametrize(("room", "closed"), [(0, False), (None, True)])
def test_what_is_stored_already_is_accepted_though_the_queue_takes_nothing_new(
    store: MemoryStore, room: int | None, closed: bool
) -> None:
    old = new_task()
    stored(store, old)
    with store.own(QUEUE)[0].transaction() as transaction:
        assert judged(transaction, submission(old, resent=True), room=room, closed=closed)[1] == ["accepted"]


def test_only_what_is_new_needs_room(store: MemoryStore) -> None:
    old, new = new_task(), new_task()
    stored(store, old)
    with store.own(QUEUE)[0].transaction() as transaction:
        assert judged(transaction, submission(old, new, resent=True), submission(), room=1)[1] == ["accepted", "full"]


# ---------------------------------------------------------------- idempotency keys


def test_a_key_is_kept_with_all_ids_of_its_request(transaction: Transaction) -> None:
    asked = submission(new_task(), new_task(), key="k")
    arrivals, outcomes = judged(transaction, asked)
    assert outcomes == ["accepted"]
    assert arrivals.keys == [KeyUse("k", "print", tuple(task.id for task in asked.tasks), QUEUE)]


def test_the_same_request_with_the_same_key_is_answered_with_the_first_tasks(store: MemoryStore) -> None:
    first = new_task()
    stored(store, first, key="k")
    with store.own(QUEUE)[0].transaction() as transaction:
        arrivals, _ = judged(transaction, submission(key="k"), room=0, closed=True)
    assert arrivals.verdicts == (Verdict(Outcome.REPLAYED, (first.id,)),)
    assert arrivals.accepted == []
    assert arrivals.keys == []


def test_another_request_with_the_same_key_is_a_conflict(store: MemoryStore) -> None:
    stored(store, new_task(), key="k")
    with store.own(QUEUE)[0].transaction() as transaction:
        arrivals, outcomes = judged(transaction, submission(key="k", fingerprint="another"))
    assert outcomes == ["conflict"]
    assert arrivals.accepted == []


def test_a_key_may_not_be_used_for_another_request_in_another_queue_either(store: MemoryStore) -> None:
    stored(store, new_task(), queue="other", key="k")
    with store.own(QUEUE)[0].transaction() as transaction:
        assert judged(transaction, submission(key="k", fingerprint="another"))[1] == ["conflict"]


def test_the_parts_of_one_request_in_several_queues_share_its_key(store: MemoryStore) -> None:
    stored(store, new_task(), queue="other", key="k")
    with store.own(QUEUE)[0].transaction() as transaction:
        arrivals, outcomes = judged(transaction, submission(key="k"))
    assert outcomes == ["accepted"]
    assert [use.queue for use in arrivals.keys] == [QUEUE]


def test_our_own_tasks_that_are_sent_again_are_no_repeat_of_the_request(store: MemoryStore) -> None:
    old = new_task()
    stored(store, old, key="k")
    with store.own(QUEUE)[0].transaction() as transaction:
        arrivals, outcomes = judged(transaction, submission(old, key="k", resent=True))
    assert outcomes == ["accepted"]
    assert arrivals.accepted == []


@pytest.mark.parametrize("resent", [False, True])
def test_our_own_tasks_are_not_stored_again_though_they_have_ended_and_were_purged(store: MemoryStore, resent: bool) -> None:
    old = new_task()
    stored(store, old, key="k")
    owned, _ = store.own(QUEUE)
    cancelled = cancel(owned.load([old.id])[0], WALL)
    assert cancelled is not None
    with owned.transaction() as transaction:
        transaction.apply(Change(updates=[cancelled]))
        assert transaction.purge(TaskState.CANCELLED, WALL + 1, 10) == 1
        arrivals, outcomes = judged(transaction, submission(old, key="k", resent=resent))
    assert outcomes == ["accepted"]
    assert arrivals.accepted == []


def test_two_requests_with_one_key_in_one_message_are_one(transaction: Transaction) -> None:
    first, second, other = submission(key="k"), submission(key="k"), submission(key="k", fingerprint="another")
    arrivals, outcomes = judged(transaction, first, second, other)
    assert outcomes == ["accepted", "replayed", "conflict"]
    assert arrivals.verdicts[1].ids == (first.tasks[0].id,)
    assert arrivals.accepted == list(first.tasks)


def test_a_key_is_forgotten_after_a_day(store: MemoryStore, clock: Clock) -> None:
    stored(store, new_task(), key="k")
    clock.now += DAY
    with store.own(QUEUE)[0].transaction() as transaction:
        assert judged(transaction, submission(key="k", fingerprint="another"))[1] == ["accepted"]


def test_a_submission_that_is_not_accepted_uses_no_key(transaction: Transaction) -> None:
    arrivals, outcomes = judged(transaction, submission(key="k"), submission(key="k"), room=0)
    assert outcomes == ["full", "full"]
    assert arrivals.keys == []


# ---------------------------------------------------------------- places


def test_tasks_get_rising_ranks_and_the_lane_of_their_priority(transaction: Transaction) -> None:
    tasks = (new_task(priority=0), new_task(priority=7), new_task(priority=-7))
    arrivals, _ = judged(transaction, submission(*tasks))
    ready = list(arrivals.place(WALL, 500))
    assert [(one.id, one.lane, one.rank) for one in ready] == [
        (tasks[0].id, 0, 500),
        (tasks[1].id, -7, 501),
        (tasks[2].id, 7, 502),
    ]
    assert [arrivals.placed[task.id] for task in tasks] == [
        Insert(tasks[0], "available", 0, 500),
        Insert(tasks[1], "available", -7, 501),
        Insert(tasks[2], "available", 7, 502),
    ]
    assert arrivals.later == []


def test_a_task_is_held_in_memory_as_the_store_will_have_it(store: MemoryStore) -> None:
    task = new_task(context='{"a": 1}', priority=3, max_retries=9, timeout_ms=77)
    owned, _ = store.own(QUEUE)
    with owned.transaction() as transaction:
        arrivals, _ = judged(transaction, submission(task))
        (ready,) = arrivals.place(WALL, 500)
        transaction.apply(Change(inserts=list(arrivals.placed.values())))
    assert owned.load([task.id]) == [ready]


@pytest.mark.parametrize(("run_at", "state"), [(0, "available"), (WALL, "available"), (WALL + 1, "scheduled")])
def test_a_task_for_later_waits_in_the_store_alone(transaction: Transaction, run_at: int, state: str) -> None:
    task = new_task(run_at=run_at)
    arrivals, _ = judged(transaction, submission(task))
    ready = list(arrivals.place(WALL, 500))
    assert arrivals.placed[task.id].state == state
    assert len(ready) == (state == "available")
    assert arrivals.later == ([run_at] if state == "scheduled" else [])
