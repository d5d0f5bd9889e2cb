"""The store's contract: what all queues have to do, places with aging, and moves from one queue to another."""

import pytest

from callboard.actors.errors import StaleChange
from callboard.actors.ordering import Order
from callboard.actors.store import Change, HandOut, QueueStore, Ruling, Store
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, completion, insert, move, numbers, put, task_id


@pytest.fixture
def other(store: Store) -> QueueStore:
    store.put_queue("other", "{}", "", NOW)
    return store.own("other")[0]


def test_the_agenda_says_when_a_queue_has_something_to_do(store: Store, owner: QueueStore, other: QueueStore) -> None:
    assert store.agenda() == {}
    put(owner, insert(1, "scheduled", run_at=NOW + 9), insert(2, "scheduled", run_at=NOW + 5))
    put(other, insert(3, "scheduled", run_at=NOW + 7))
    assert store.agenda() == {QUEUE: NOW + 5, "other": NOW + 7}
    put(other, insert(4))
    assert store.agenda() == {QUEUE: NOW + 5, "other": 0}


@pytest.mark.parametrize("state", ["available", "claimed", "executing"])
def test_what_is_ready_or_handed_out_is_on_the_agenda_at_once(store: Store, owner: QueueStore, state: str) -> None:
    put(owner, insert(1, state))
    assert store.agenda() == {QUEUE: 0}
    with owner.transaction() as transaction:
        transaction.apply(Change(completions=[completion(1, state)]))
    assert store.agenda() == {}


def test_a_batch_that_is_under_way_and_a_retry_are_on_the_agenda(store: Store, owner: QueueStore, other: QueueStore) -> None:
    with owner.transaction() as transaction:
        transaction.apply(Change(hand_outs=[HandOut(1, "w", (task_id(1),))]))
    put(other, insert(2))
    move(other, [2], "retryable", run_at=NOW + 3)
    assert store.agenda() == {QUEUE: 0, "other": NOW + 3}


def test_a_queue_that_is_deleted_has_nothing_to_do(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1), insert(2, "scheduled", run_at=NOW))
    store.delete_queue(QUEUE)
    assert store.agenda() == {}


def test_due_tasks_get_the_places_of_the_queues_order(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1, "scheduled", run_at=NOW), insert(2, "scheduled", run_at=NOW + 1, priority=1))
    order = Order(1)  # 1 ms
    with owner.transaction() as transaction:
        due = transaction.due(NOW + 5, 9, NOW, order)
    assert [(task.lane, task.rank) for task in due] == [order.place(0, NOW), order.place(1, NOW + 1)]
    assert numbers([task.id for task in owner.ready(None, 9, 9_999)]) == [2, 1]
    assert store.own(QUEUE)[1].last_rank >= NOW


@pytest.mark.parametrize(
    ("state", "waits"), [("available", "scheduled"), ("scheduled", "scheduled"), ("retryable", "retryable")]
)
def test_a_moved_task_waits_in_the_other_queue(
    store: Store, owner: QueueStore, other: QueueStore, state: str, waits: str
) -> None:
    put(owner, insert(1, run_at=NOW + 7))
    move(owner, [1], state, hand_out=500, attempt=2, interruptions=2_003)
    (task,) = owner.load([task_id(1)])
    with owner.transaction() as transaction:
        assert transaction.move(task, "other", 4, NOW + 9)
    (moved,) = other.load([task_id(1)])
    assert (moved.state, moved.priority, moved.attempt, moved.hand_out) == (waits, 4, 2, 0)
    assert moved.interruptions == 0  # what it has earned was earned in the other queue's workers
    assert (owner.load([task_id(1)]), other.next_due()) == ([], NOW + 9)
    assert (sum(owner.counts().values()), other.counts()[TaskState(waits)], sum(other.counts().values())) == (0, 1, 1)
    with other.transaction() as transaction:
        assert numbers([task.id for task in transaction.due(NOW + 9, 9, 1)]) == [1]
    assert other.counts()[TaskState.AVAILABLE] == 1


def test_a_suspect_can_be_acquitted_where_it_is_moved(owner: QueueStore, other: QueueStore) -> None:
    put(owner, insert(1))
    move(owner, [1], "available", failures=2, interruptions=1_000)
    (task,) = owner.load([task_id(1)])
    with owner.transaction() as transaction:
        assert transaction.move(task, "other", 0, NOW)
        transaction.apply(Change(rulings=[Ruling(task_id(1), guilty=False)]))
    (moved,) = other.load([task_id(1)])
    assert (moved.failures, moved.interruptions) == (1, 0)


def test_a_moved_task_keeps_its_time_where_none_is_given(owner: QueueStore, other: QueueStore) -> None:
    put(owner, insert(1, "scheduled", run_at=NOW + 7))
    (task,) = owner.load([task_id(1)])
    with owner.transaction() as transaction:
        assert transaction.move(task, "other", 0, None)
    assert other.next_due() == NOW + 7


def test_a_task_is_not_moved_to_a_queue_that_is_not_there(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1))
    (task,) = owner.load([task_id(1)])
    with owner.transaction() as transaction:
        assert not transaction.move(task, "nowhere", 0, NOW)
    assert (store.counts()[QUEUE][TaskState.AVAILABLE], owner.load([task_id(1)])) == (1, [task])


def test_a_move_of_a_task_that_has_changed_meanwhile_changes_nothing(owner: QueueStore, other: QueueStore) -> None:
    put(owner, insert(1))
    (task,) = owner.load([task_id(1)])
    move(owner, [1], "cancelled")
    with pytest.raises(StaleChange), owner.transaction() as transaction:
        transaction.move(task, "other", 0, NOW)
    assert sum(other.counts().values()) == 0
