"""The store's contract, queues: made, changed, deleted and made again."""

import pytest

from callboard.actors.errors import QueueNotEmpty, Superseded
from callboard.actors.store import Change, HandOut, KeyUse, QueueStore, Store
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, move, put, task_id


def test_queues_are_put_again_with_a_higher_version(store: Store) -> None:
    again = store.put_queue(QUEUE, '{"a": 1}', '{"b": 2}', NOW + 1)
    assert (again.settings, again.configured, again.settings_version, again.created_at) == ('{"a": 1}', '{"b": 2}', 2, NOW)
    store.put_queue("alpha", "{}", "", NOW)
    assert [(queue.name, queue.settings_version) for queue in store.queues()] == [("alpha", 1), (QUEUE, 2)]
    assert store.queues()[1] == again


def test_putting_a_queue_again_leaves_its_owner_and_its_tasks(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1))
    store.put_queue(QUEUE, "{}", "", NOW)
    put(owner, insert(2))
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == 2


def test_a_deleted_queue_takes_everything_with_it(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1), insert(2, "claimed"), insert(3, "scheduled", run_at=NOW))
    move(owner, [1], "completed")
    with owner.transaction() as transaction:
        transaction.apply(Change(hand_outs=[HandOut(1, "w", (task_id(2),))], keys=[KeyUse("a", "", ())]))
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    put(other, insert(9))
    assert store.delete_queue(QUEUE) == 3
    assert [queue.name for queue in store.queues()] == ["other"]
    assert store.get_many([task_id(number) for number in (1, 2, 3)]) == []
    assert store.get(task_id(9)) is not None
    with pytest.raises(Superseded):
        put(owner, insert(4))
    with other.transaction() as transaction:
        assert transaction.key_uses(["a"]) == []
    with pytest.raises(KeyError):
        store.delete_queue(QUEUE)


@pytest.mark.parametrize("state", ["scheduled", "available", "claimed", "executing", "dead"])
def test_only_an_empty_queue_can_be_deleted_on_that_condition(store: Store, owner: QueueStore, state: str) -> None:
    put(owner, insert(1), insert(2))
    move(owner, [1], "completed")
    move(owner, [2], state, run_at=NOW)
    with pytest.raises(QueueNotEmpty):
        store.delete_queue(QUEUE, only_empty=True)
    assert store.get(task_id(2)) is not None
    assert store.own(QUEUE)[1].counts[TaskState.COMPLETED] == 1
    assert [queue.name for queue in store.queues()] == [QUEUE]


def test_tasks_that_have_ended_well_or_were_cancelled_keep_no_queue(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1), insert(2))
    move(owner, [1], "completed")
    move(owner, [2], "cancelled")
    assert store.delete_queue(QUEUE, only_empty=True) == 2
    assert store.queues() == []
    with pytest.raises(KeyError):
        store.delete_queue(QUEUE, only_empty=True)


def test_a_queue_made_again_gets_a_higher_incarnation(store: Store, owner: QueueStore) -> None:
    before = store.own(QUEUE)[1].incarnation
    store.delete_queue(QUEUE)
    store.put_queue(QUEUE, "{}", "", NOW)
    successor, ownership = store.own(QUEUE)
    assert ownership.incarnation > before
    assert (ownership.last_rank, ownership.last_hand_out, sum(ownership.counts.values())) == (0, 0, 0)
    assert successor.hand_outs() == []
    with pytest.raises(Superseded):
        put(owner, insert(1))
