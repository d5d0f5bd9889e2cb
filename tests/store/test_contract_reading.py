"""The store's contract, reading: windows, lists and look-ups, the same for every store."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callboard.actors.store import Change, HandOut, QueueStore, Store, TaskFilter, sql_reader
from callboard.actors.store.listing import FEW_TASKS, id_statements
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, completion, insert, move, numbers, put, task_id


def walk(store: Store, chosen: TaskFilter, limit: int) -> list[int]:
    """Follow the cursors to the end."""
    seen: list[int] = []
    cursor = None
    while True:
        page = store.page(chosen, limit, cursor)
        assert len(page.tasks) <= limit
        seen += numbers([task.id for task in page.tasks])
        cursor = page.next_cursor
        if cursor is None:
            return seen


def test_the_window_is_read_in_the_order_of_lane_then_rank(owner: QueueStore) -> None:
    put(owner, insert(1, rank=30), insert(2, rank=10), insert(3, lane=-1, rank=40), insert(4, rank=20))
    put(owner, insert(5, "claimed", rank=5), insert(6, "scheduled", rank=5, run_at=NOW))
    assert numbers([task.id for task in owner.ready(None, 10, 10_000)]) == [3, 2, 4, 1]
    assert numbers([task.id for task in owner.ready(None, 2, 10_000)]) == [3, 2]
    assert numbers([task.id for task in owner.ready((0, 10), 10, 10_000)]) == [4, 1]
    assert owner.ready((0, 30), 10, 10_000) == []


def test_a_window_ends_when_it_has_enough_bytes_but_holds_at_least_one(owner: QueueStore) -> None:
    put(owner, *(insert(number, context='{"a": "' + "x" * 1_000 + '"}') for number in range(5)))
    assert len(owner.ready(None, 10, 1)) == 1
    assert len(owner.ready(None, 10, 2_500)) == 3


def test_a_window_never_ends_between_tasks_of_the_same_rank(owner: QueueStore) -> None:
    put(owner, *(insert(number, rank=50) for number in range(4)), insert(5, rank=51))
    first = owner.ready(None, 2, 10_000)
    assert sorted(numbers([task.id for task in first])) == [0, 1, 2, 3]
    assert numbers([task.id for task in owner.ready((first[-1].lane, first[-1].rank), 2, 10_000)]) == [5]


def test_the_oldest_is_the_available_task_of_the_smallest_rank_in_any_lane(owner: QueueStore) -> None:
    assert owner.oldest_ready() is None
    put(owner, insert(1, lane=-7, rank=90), insert(2, lane=3, rank=20), insert(3, rank=60), insert(4, "claimed", rank=1))
    assert owner.oldest_ready() == NOW + 2


def test_nothing_is_due_when_nothing_waits(owner: QueueStore) -> None:
    put(owner, insert(1))
    assert owner.next_due() is None


def test_tasks_are_loaded_in_the_order_asked_whatever_their_state(store: Store, owner: QueueStore) -> None:
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    put(other, insert(9))
    put(owner, insert(1), insert(2, "executing"), insert(3, "claimed"))
    loaded = owner.load([task_id(number) for number in (3, 9, 1, 77, 2, 1)])
    assert [(numbers([task.id])[0], task.state) for task in loaded] == [(3, "claimed"), (1, "available"), (2, "executing")]
    assert loaded[2].attempt == 1


@pytest.mark.parametrize("strange", ["a\x00b", "", "'\"\\{}%s", "ü\U0001f600", "\ud800"])
def test_a_text_that_no_task_has_finds_none(store: Store, owner: QueueStore, strange: str) -> None:
    put(owner, insert(1))
    assert (store.get(strange), store.get_many([strange, task_id(1)]), store.ended([strange])) == (
        None,
        store.get_many([task_id(1)]),
        {strange},
    )
    assert [task.id for task in owner.load([strange, task_id(1)])] == [task_id(1)]
    for chosen in (TaskFilter(queue=strange), TaskFilter(type=strange)):
        assert store.page(chosen, 10, None).tasks == []
        assert store.matching_ids(chosen, 10, None) == []
    with owner.transaction() as transaction:
        assert transaction.existing([strange]) == set()


def test_many_tasks_are_looked_up_at_once(store: Store, owner: QueueStore) -> None:
    put(owner, *(insert(number) for number in range(2_000)))
    ids = [task_id(number) for number in range(40_000)]  # more than SQLite has parameters for
    assert len(store.get_many(ids)) == len(owner.load(ids)) == 2_000
    with owner.transaction() as transaction:
        assert transaction.existing(ids) == set(ids[:2_000])
    assert store.ended(ids) == set(ids[2_000:])


def test_ended_tasks_and_those_that_are_gone_have_ended(store: Store, owner: QueueStore) -> None:
    put(owner, *(insert(number) for number in range(6)))
    for number, state in enumerate(["completed", "dead", "cancelled", "executing", "retryable"]):
        move(owner, [number], state)
    assert store.ended([task_id(number) for number in range(8)]) == {task_id(number) for number in (0, 1, 2, 6, 7)}
    assert store.ended([]) == set()


def test_a_walk_by_pages_sees_each_of_2500_tasks_once_though_more_arrive(store: Store, owner: QueueStore) -> None:
    put(owner, *(insert(number) for number in range(2_500)))
    seen: list[int] = []
    cursor = None
    later = 2_500
    while True:
        page = store.page(TaskFilter(queue=QUEUE), 400, cursor)
        seen += numbers([task.id for task in page.tasks])
        put(owner, insert(later))
        later += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(range(2_499, -1, -1))


@pytest.mark.parametrize("many", [0, FEW_TASKS + 500])  # both ways to find them: gathered, and walked back to
def test_every_filter_lists_exactly_its_tasks_newest_first(store: Store, owner: QueueStore, many: int) -> None:
    store.put_queue("other", "{}", "", NOW)
    other, _ = store.own("other")
    states = ["available", "claimed", "scheduled", "executing", "retryable", "completed", "dead", "cancelled"]
    expected: dict[tuple[str, str], list[int]] = {}
    number = 0
    for queue, one in ((QUEUE, owner), ("other", other)):
        for state in states * 3:
            stored = state if state in {"available", "claimed", "scheduled", "executing"} else "available"
            put(one, insert(number, stored, run_at=NOW, type="odd" if number % 2 else "even"))
            if stored != state:
                move(one, [number], state)
            if state == "claimed":
                with one.transaction() as transaction:
                    transaction.apply(Change(hand_outs=[HandOut(number, "w", (task_id(number), ""))]))
            expected.setdefault((queue, "available" if state == "claimed" else state), []).insert(0, number)
            number += 1
    put(other, *(insert(10_000 + place) for place in range(many)))
    put(other, *(insert(50_000 + place) for place in range(many)))
    with other.transaction() as transaction:
        transaction.apply(Change(completions=[completion(50_000 + place) for place in range(many)]))
    expected["other", "available"] = [*range(10_000 + many - 1, 9_999, -1), *expected["other", "available"]]
    expected["other", "completed"] = [*range(50_000 + many - 1, 49_999, -1), *expected["other", "completed"]]

    for state in TaskState:
        for queue in (QUEUE, "other"):
            assert walk(store, TaskFilter(queue=queue, state=state), 1_000) == expected[queue, state]
        both = sorted(expected[QUEUE, state] + expected["other", state], reverse=True)
        assert walk(store, TaskFilter(state=state), 999) == both
        assert [numbers([one])[0] for _, one in store.matching_ids(TaskFilter(state=state), 7_000)] == both
        odd = [number for number in both if number % 2 and number < 10_000]
        assert walk(store, TaskFilter(state=state, type="odd"), 2) == odd
    mine = sorted((one for (queue, _), ids in expected.items() if queue == QUEUE for one in ids), reverse=True)
    assert walk(store, TaskFilter(queue=QUEUE), 5) == mine
    assert [queue for queue, _ in store.matching_ids(TaskFilter(queue=QUEUE), 3)] == [QUEUE] * 3
    assert walk(store, TaskFilter(queue="nobody"), 5) == []


def test_a_bulk_change_goes_on_below_the_last_id_it_touched(store: Store, owner: QueueStore) -> None:
    put(owner, *(insert(number) for number in range(10)))
    chosen = TaskFilter(queue=QUEUE, state=TaskState.AVAILABLE)
    first = store.matching_ids(chosen, 4)
    assert numbers([one for _, one in first]) == [9, 8, 7, 6]
    assert numbers([one for _, one in store.matching_ids(chosen, 4, before=first[-1][1])]) == [5, 4, 3, 2]


def change_meanwhile(monkeypatch: pytest.MonkeyPatch, place: int, change: Callable[[], None]) -> None:
    """Have somebody write while the next list is made: before its statement of this place.

    In memory there are no statements: nothing can come between, and nothing does.
    """
    left = [change]

    def meddled(*arguments: Any) -> Iterator[Any]:
        for index, statement in enumerate(id_statements(*arguments)):
            if index == place and left:
                left.pop()()
            yield statement

    monkeypatch.setattr(sql_reader, "id_statements", meddled)


def ids_of(store: Store, way: str, chosen: TaskFilter) -> list[int]:
    if way == "page":
        page = store.page(chosen, 10, None)
        assert page.next_cursor is None
        return numbers([task.id for task in page.tasks])
    return numbers([one for _, one in store.matching_ids(chosen, 10)])


@pytest.mark.parametrize("way", ["page", "matching_ids"])
def test_a_task_that_becomes_due_while_a_list_is_made_is_on_it(
    store: Store, owner: QueueStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    put(owner, insert(1), insert(2, "scheduled", run_at=NOW))

    def come_due() -> None:
        with owner.transaction() as transaction:
            assert len(transaction.due(NOW, 10, NOW)) == 1

    change_meanwhile(monkeypatch, 2, come_due)  # the available ones, of two statements, have been read
    assert ids_of(store, way, TaskFilter(queue=QUEUE)) == [2, 1]
    put(owner, insert(3))
    assert ids_of(store, way, TaskFilter(queue=QUEUE)) == [3, 2, 1], "the moment that a list saw outlived it"


@pytest.mark.parametrize("way", ["page", "matching_ids"])
def test_a_task_that_changes_into_a_state_that_had_none_while_a_list_is_made_is_on_it(
    store: Store, owner: QueueStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    put(owner, insert(1))
    change_meanwhile(monkeypatch, 0, lambda: move(owner, [1], "completed"))
    assert ids_of(store, way, TaskFilter(queue=QUEUE)) == [1]


@pytest.mark.parametrize("cursor", ["", "x", "????", "Y2FsbA", "ü", "W10", "/+", "////"])
def test_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        store.page(TaskFilter(), 10, cursor)


def test_a_task_that_is_not_there_is_none(store: Store) -> None:
    assert store.get(task_id(1)) is None
