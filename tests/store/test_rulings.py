"""The store's contract, rulings: what becomes of a suspect's row when it is known whether it was to blame."""

import json

import pytest

from callboard.actors.store import Change, QueueStore, Ruling, Store
from callboard.actors.task import AttemptError, ErrorKind
from tests.store.made import NOW, completion, insert, move, put, task_id, update

TRAP = 'says "charged":true,"suspect":true and {"suspect": true}'


def error(attempt: int, *, suspect: bool, charged: bool = True) -> str:
    kind = ErrorKind.CRASH if suspect else ErrorKind.ERROR
    shown = AttemptError(attempt, NOW, kind, TRAP, charged, traceback=TRAP, exit="SIGSEGV", suspect=suspect)
    return json.dumps(shown.to_json())


@pytest.fixture
def suspect(owner: QueueStore) -> str:
    """A task that had failed before, and is a suspect now."""
    put(owner, insert(1), insert(2))
    move(owner, [1], "retryable", failures=1, error=error(1, suspect=False))
    move(owner, [1], "available", failures=2, interruptions=1_000, error=error(2, suspect=True))
    move(owner, [1], "available", interruptions=1_001, error=error(3, suspect=False, charged=False))
    return task_id(1)


def charges(store: Store, task: str) -> list[tuple[bool, bool | None]]:
    found = store.get(task)
    assert found is not None
    assert all(each["message"] == each["traceback"] == TRAP for each in found.errors)
    return [(each["charged"], each.get("suspect")) for each in found.errors]


def test_an_innocent_gets_its_charge_back(store: Store, owner: QueueStore, suspect: str) -> None:
    assert charges(store, suspect) == [(True, None), (True, True), (False, None)]
    with owner.transaction() as transaction:
        transaction.apply(Change(rulings=[Ruling(suspect, guilty=False)], completions=[completion(1)]))
    assert charges(store, suspect) == [(True, None), (False, False), (False, None)]
    (stored,) = owner.load([suspect])
    assert (stored.state, stored.failures, stored.interruptions) == ("completed", 1, 0)


def test_what_comes_with_a_ruling_is_added_to_what_it_leaves(store: Store, owner: QueueStore, suspect: str) -> None:
    (stored,) = owner.load([suspect])
    failed = update(stored, "dead", failures=2, interruptions=0, error=error(4, suspect=False))
    with owner.transaction() as transaction:
        transaction.apply(Change(updates=[failed], rulings=[Ruling(suspect, guilty=False)]))
    assert charges(store, suspect) == [(True, None), (False, False), (False, None), (True, None)]
    assert owner.load([suspect])[0].failures == 2


def test_the_guilty_stays_charged_and_is_no_suspect_any_more(store: Store, owner: QueueStore, suspect: str) -> None:
    with owner.transaction() as transaction:
        transaction.apply(Change(rulings=[Ruling(suspect, guilty=True)]))
    assert charges(store, suspect) == [(True, None), (True, False), (False, None)]
    (stored,) = owner.load([suspect])
    assert (stored.failures, stored.interruptions) == (2, 1_001)


def test_a_ruling_is_of_one_task(store: Store, owner: QueueStore, suspect: str) -> None:
    move(owner, [2], "available", failures=1, interruptions=1_000, error=error(1, suspect=True))
    with owner.transaction() as transaction:
        transaction.apply(Change(rulings=[Ruling(suspect, guilty=False)]))
    assert charges(store, task_id(2)) == [(True, True)]
