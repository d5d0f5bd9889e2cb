"""The store's contract, queues: made, changed, deleted and made again."""

import pytest

from callboard.actors.errors import QueueBeingDeleted, QueueNotEmpty, Superseded
from callboard.actors.store import Change, HandOut, KeyUse, QueueStore, Store, TaskFilter
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, move, put, task_id

FOREVER = 1_000.0


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
    assert store.clear_deleted(FOREVER)
    store.put_queue(QUEUE, "{}", "", NOW)
    successor, ownership = store.own(QUEUE)
    assert ownership.incarnation > before
    assert (ownership.last_rank, ownership.last_hand_out, sum(ownership.counts.values())) == (0, 0, 0)
    assert successor.hand_outs() == []
    with pytest.raises(Superseded):
        put(owner, insert(1))


def fill(owner: QueueStore, first: int) -> None:
    """Put a task in every state."""
    states = [*TaskState, "claimed"]
    put(owner, *(insert(first + number) for number in range(len(states))))
    for number, state in enumerate(states):
        move(owner, [first + number], state, run_at=NOW)
    with owner.transaction() as transaction:
        held = (task_id(first + len(TaskState)),)
        keys = [KeyUse(f"key {first + number}", "", (task_id(first + number),)) for number in range(3)]
        transaction.apply(Change(hand_outs=[HandOut(1, "w", held)], keys=keys))


def test_what_is_left_of_a_deleted_queue_is_seen_by_nobody_and_then_cleared(store: Store, owner: QueueStore) -> None:
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    fill(owner, 100)
    fill(other, 200)
    counts, hand_outs, page = store.counts()["other"], other.hand_outs(), store.page(TaskFilter(queue="other"), 50, None)
    number = len(page.tasks)
    assert store.delete_queue(QUEUE) == number
    for cleared in (False, True):
        gone = [task_id(100 + each) for each in range(number)]
        assert (store.get(gone[0]), store.get_many(gone), store.ended(gone)) == (None, [], set(gone))
        assert store.page(TaskFilter(), 50, None) == page
        assert store.page(TaskFilter(queue=QUEUE), 50, None).tasks == []
        for state in TaskState:
            shown = store.page(TaskFilter(state=state), 50, None).tasks
            assert {task.queue for task in shown} == {"other"}
            assert {queue for queue, _ in store.matching_ids(TaskFilter(state=state), 50)} == {"other"}
        assert store.counts() == {"other": counts}
        assert list(store.agenda()) == ["other"]
        assert other.hand_outs() == hand_outs
        with other.transaction() as transaction:
            assert transaction.key_uses(["key 100"]) == []
            assert [use.queue for use in transaction.key_uses(["key 200", "key 202"])] == ["other"] * 2
        if not cleared:
            with pytest.raises(QueueBeingDeleted):
                store.put_queue(QUEUE, "{}", "", NOW)
            with pytest.raises(KeyError):
                store.own(QUEUE)
            with pytest.raises(KeyError):
                store.delete_queue(QUEUE)
            store.put_queue("third", "{}", "", NOW)
            assert store.delete_queue("third") == 0
            assert store.clear_deleted(FOREVER)
    put(other, *(insert(100 + each) for each in range(number)))
    store.put_queue(QUEUE, "{}", "", NOW)
    assert sum(store.own(QUEUE)[1].counts.values()) == 0
    other.close()
