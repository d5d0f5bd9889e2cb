"""The store's contract, refusing: what keeps all of a change out. The same sentences hold for every store."""

import pytest

from callboard.actors.errors import DuplicateTask, StaleChange, Superseded
from callboard.actors.store import Change, HandOut, KeyUse, QueueStore, Store
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, completion, insert, put, task_id


def test_a_superseded_owner_writes_nothing(store: Store, owner: QueueStore) -> None:
    successor, ownership = store.own(QUEUE)
    with pytest.raises(Superseded) as raised, owner.transaction() as transaction:
        transaction.apply(Change(inserts=[insert(1)]))
    assert (raised.value.queue, raised.value.incarnation) == (QUEUE, ownership.incarnation - 1)
    assert store.get(task_id(1)) is None
    put(successor, insert(1))
    assert store.get(task_id(1)) is not None


def test_an_owner_may_not_begin_once_it_is_superseded(store: Store, owner: QueueStore) -> None:
    store.own(QUEUE)
    began = False
    with pytest.raises(Superseded), owner.transaction():
        began = True
    assert not began


def test_a_queue_that_is_not_there_has_no_owner(store: Store) -> None:
    with pytest.raises(KeyError):
        store.own("nobody")


def test_an_id_that_exists_already_keeps_the_whole_change_out(store: Store, owner: QueueStore) -> None:
    put(owner, insert(1))
    with pytest.raises(DuplicateTask), owner.transaction() as transaction:
        transaction.apply(Change(inserts=[insert(2), insert(1)], keys=[KeyUse("key", "", ())]))
    assert store.get(task_id(2)) is None
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == 1


def test_an_id_that_another_queue_has_is_refused_too(store: Store, owner: QueueStore) -> None:
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    put(other, insert(1))
    with pytest.raises(DuplicateTask):
        put(owner, insert(1))
    with owner.transaction() as transaction:
        assert transaction.existing([task_id(1), task_id(2)]) == {task_id(1)}


@pytest.mark.parametrize(
    "change",
    [
        Change(completions=[completion(1), completion(2, "claimed")]),  # task 2 is available
        Change(completions=[completion(1), completion(3)]),  # there is no task 3
        Change(completions=[completion(1), completion(1)]),  # the second time it has ended already
    ],
)
def test_a_change_that_supposes_another_state_keeps_nothing(store: Store, owner: QueueStore, change: Change) -> None:
    put(owner, insert(1), insert(2))
    with pytest.raises(StaleChange), owner.transaction() as transaction:
        transaction.apply(change)
    assert store.counts()[QUEUE][TaskState.AVAILABLE] == 2
    assert [task.state for task in owner.load([task_id(1), task_id(2)])] == ["available", "available"]


def test_a_failed_change_cannot_be_committed_by_ignoring_it(store: Store, owner: QueueStore) -> None:
    with pytest.raises(RuntimeError), owner.transaction() as transaction, pytest.raises(DuplicateTask):
        transaction.apply(Change(inserts=[insert(1), insert(1)]))
    assert store.get(task_id(1)) is None


def test_an_error_in_the_block_undoes_everything(store: Store, owner: QueueStore) -> None:
    def fail() -> None:
        with owner.transaction() as transaction:
            transaction.apply(Change(inserts=[insert(1)], hand_outs=[HandOut(1, "w", (task_id(1),))]))
            transaction.set_paused(True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.get(task_id(1)) is None
    assert owner.hand_outs() == []
    assert not store.queues()[0].paused
    put(owner, insert(1))
    assert store.get(task_id(1)) is not None
