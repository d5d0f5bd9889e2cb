"""The part of a queue's ready tasks that is in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.store import ReadyTask
from callboard.actors.suspicion import ALONE, Standing
from callboard.actors.window import Window
from tests.support.made_tasks import ready_task


def pop(window: Window) -> ReadyTask | None:
    first = window.peek()
    if first is not None:
        window.take(first)
    return first


def task(rank: int, lane: int = 0, context: str = "{}") -> ReadyTask:
    return ready_task(f"{lane}/{rank}", lane=lane, rank=rank, context=context)


def whole(limit: int = 8, max_bytes: int = 1_000) -> Window:
    """A window with nothing behind its edge."""
    window = Window(limit, max_bytes)
    window.filled([], everything=True, elsewhere=())
    return window


def popped(window: Window) -> list[str]:
    found = []
    while (first := pop(window)) is not None:
        found.append(first.id)
    return found


def test_a_new_window_leaves_everything_to_the_store_until_it_is_filled() -> None:
    window = Window()
    window.push(task(1))
    assert len(window) == 0
    assert window.wants_more
    assert window.room() == (4_096, 8 * 1024 * 1024)


def test_tasks_come_out_by_lane_then_by_rank() -> None:
    window = whole()
    for one in (task(3), task(1), task(9, lane=-5), task(2)):
        window.push(one)
    assert popped(window) == ["-5/9", "0/1", "0/2", "0/3"]


def test_looking_at_the_next_task_leaves_it() -> None:
    window = whole()
    window.push(task(1))
    assert window.peek() == window.peek() == task(1)
    assert "0/1" in window
    assert pop(window) == task(1)
    assert window.peek() is pop(window) is None


def test_what_lies_behind_the_edge_is_left_to_the_store() -> None:
    window = Window(8)
    window.filled([task(1), task(5)], everything=False, elsewhere=())
    assert window.edge == (0, 5)
    window.push(task(6))
    window.push(task(4))
    assert popped(window) == ["0/1", "0/4", "0/5"]


def test_what_is_elsewhere_is_not_taken_in_but_read_past() -> None:
    window = Window(8)
    window.filled([task(1), task(2)], everything=False, elsewhere={"0/2"})
    assert window.edge == (0, 2)
    assert popped(window) == ["0/1"]


def test_a_store_that_has_nothing_more_is_not_asked_again() -> None:
    window = whole()
    assert window.edge is None
    assert not window.wants_more


def test_the_store_is_asked_when_the_window_runs_low() -> None:
    window = Window(8)
    window.filled([task(rank) for rank in range(1, 4)], everything=False, elsewhere=())
    wanted = []
    while pop(window) is not None:
        wanted.append(window.wants_more)
    assert wanted == [False, True, True]
    assert window.room() == (8, 8 * 1024 * 1024)


def test_a_window_full_of_bytes_does_not_want_more_though_it_holds_few_tasks() -> None:
    window = Window(8, 1_000)
    window.filled([task(1, context="x" * 300)], everything=False, elsewhere=())
    assert not window.wants_more
    assert window.room() == (7, 700)
    pop(window)
    assert window.wants_more


@pytest.mark.parametrize(
    ("count", "context", "kept"),
    [
        (16, "{}", 16),  # twice the limit is borne for a moment
        (17, "{}", 8),  # more is not: the tail is left to the store
        (3, "x" * 700, 1),  # two thousand bytes are too many, and one task of 700 is what a thousand can hold
        (1, "x" * 5_000, 1),  # one is always kept, or nothing would ever run
    ],
)
def test_a_window_that_grows_too_large_keeps_its_first_tasks(count: int, context: str, kept: int) -> None:
    window = whole()
    for rank in range(1, count + 1):
        window.push(task(rank, context=context))
    assert len(window) == kept
    if kept < count:
        assert window.edge == (0, kept)
    assert popped(window) == [f"0/{rank}" for rank in range(1, kept + 1)]


def test_a_task_that_is_pushed_again_has_one_place_the_new_one() -> None:
    window = whole()
    window.push(ready_task("a", rank=1))
    window.push(ready_task("b", rank=2))
    window.push(ready_task("a", rank=3))
    assert len(window) == 2
    assert popped(window) == ["b", "a"]


def test_tasks_that_are_forgotten_do_not_come_out() -> None:
    window = whole()
    for rank in (1, 2, 3):
        window.push(task(rank, context="x" * 100))
    window.discard(["0/1", "0/3", "unknown"])
    assert window.room() == (7, 900)
    assert popped(window) == ["0/2"]


def suspect(rank: int, context: str = "{}") -> ReadyTask:
    return task(rank, context=context)._replace(interruptions=ALONE)


def test_tasks_that_must_run_alone_do_not_keep_the_others_out() -> None:
    window = Window()
    window.filled([suspect(rank, "x" * 700_000) for rank in range(1, 5)], everything=False, elsewhere=())
    assert window.peek() is None
    assert window.wants_more
    assert window.room() == (4_096, 8 * 1024 * 1024)
    window.filled([task(5)], everything=False, elsewhere=())
    assert window.peek() == task(5)


def test_many_tasks_that_must_run_alone_do_not_keep_the_others_out() -> None:
    window = Window(8)
    window.filled([suspect(rank) for rank in range(1, 9)], everything=False, elsewhere=())
    assert window.wants_more
    assert window.room()[0] == 8
    window.filled([task(9)], everything=False, elsewhere=())
    assert window.peek() == task(9)


@pytest.mark.parametrize(("limit", "max_bytes", "room"), [(8, 1_000, (1, 1_000)), (100, 40, (100, 5))])
def test_no_more_tasks_that_must_run_alone_are_read_than_memory_is_to_hold(
    limit: int, max_bytes: int, room: tuple[int, int]
) -> None:
    window = Window(limit, max_bytes)
    wanted = []
    for first in (1, 9):
        wanted.append(window.wants_more)
        rows = [suspect(rank, "x" * 5) for rank in range(first, first + 8)]
        window.filled(rows, everything=False, elsewhere=())
    wanted.append(window.wants_more)
    window.take_alone(suspect(1, "x" * 5))
    assert [*wanted, window.wants_more] == [True, True, False, True]
    assert window.room() == room


def test_a_task_that_must_run_alone_counts_no_more_once_it_is_gone() -> None:
    window = Window(8, 800)
    window.filled([suspect(rank, "x" * 100) for rank in (1, 2, 3, 4)], everything=False, elsewhere=())
    assert window.room() == (8, 800)
    first = window.peek_alone()
    assert first is not None
    window.take_alone(first)
    window.discard(["0/2"])
    window.push(task(3, context="x" * 300))  # acquitted
    assert window.room() == (7, 500)
    window.forget_all()
    assert window.room() == (8, 800)


class WindowOverStore(RuleBasedStateMachine):
    """A window of 8 tasks or 60 bytes over a store of any size: together they are one sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(8, 60)
        self.stored: dict[str, ReadyTask] = {}
        self.handed_out: dict[str, ReadyTask] = {}
        self.rank = 0

    @rule(lanes=st.lists(st.integers(-2, 2), min_size=1, max_size=20), size=st.integers(0, 12), alone=st.booleans())
    def submit(self, lanes: list[int], size: int, alone: bool) -> None:
        for lane in lanes:
            self.rank += 1
            new = task(self.rank, lane, "x" * size)._replace(interruptions=ALONE if alone else 0)
            self.stored[new.id] = new
            self.window.push(new)

    @rule()
    def read_ahead(self) -> None:
        """Read as an owner does: only when the window wants it, a little more than a byte limit allows."""
        if not self.window.wants_more:
            return
        limit, max_bytes = self.window.room()
        assert limit > 0
        assert max_bytes > 0
        edge = self.window.edge
        assert edge is not None
        rows: list[ReadyTask] = []
        size = 0
        for row in self.in_order():
            if (row.lane, row.rank) > edge and len(rows) < limit and size < max_bytes:
                rows.append(row)
                size += len(row.context)
        self.window.filled(rows, everything=not rows, elsewhere=self.handed_out)

    @rule()
    def hand_out(self) -> None:
        first = pop(self.window)
        waiting = [one for one in self.waiting() if one.interruptions < ALONE]
        if first is None:
            alone = self.window.peek_alone()
            assert self.window.wants_more or alone or not waiting, "nothing would ever run again"
            return
        assert first == waiting[0], "a task was overtaken"
        self.handed_out[first.id] = first

    @rule()
    def hand_out_alone(self) -> None:
        first = self.window.peek_alone()
        if first is not None:
            self.window.take_alone(first)
            assert first == next(one for one in self.waiting() if one.interruptions >= ALONE), "a task was overtaken"
            self.handed_out[first.id] = first

    @precondition(lambda self: self.handed_out)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        back = self.handed_out.pop(data.draw(st.sampled_from(sorted(self.handed_out))))
        self.window.push(back)

    @precondition(lambda self: self.handed_out)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        ended = data.draw(st.sampled_from(sorted(self.handed_out)))
        del self.handed_out[ended]
        del self.stored[ended]

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        cancelled = data.draw(st.sampled_from(sorted(self.stored)))
        if cancelled not in self.handed_out:
            del self.stored[cancelled]
            self.window.discard([cancelled])

    @invariant()
    def nothing_is_lost(self) -> None:
        edge = self.window.edge
        for one in self.stored.values():
            behind = edge is not None and (one.lane, one.rank) > edge
            waits = one.id not in self.handed_out
            assert (one.id in self.window) + (waits and behind) == waits, f"{one.id} is lost, or in two places"

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.window) <= 16

    @invariant()
    def what_runs_alone_is_counted_apart(self) -> None:
        others = [one for one in self.window._tasks.values() if one.interruptions < ALONE]
        limit, max_bytes = self.window.room()
        assert limit <= 8 - len(others)
        assert max_bytes <= max(60 - sum(len(one.context) for one in others), 1)

    def waiting(self) -> list[ReadyTask]:
        return [one for one in self.in_order() if one.id not in self.handed_out]

    def in_order(self) -> list[ReadyTask]:
        return sorted(self.stored.values(), key=lambda one: (one.lane, one.rank))


TestWindowOverStore = WindowOverStore.TestCase


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 50)), unique=True))
def test_any_tasks_come_out_sorted(keys: list[tuple[int, int]]) -> None:
    window = whole(limit=1_000, max_bytes=100_000)
    for lane, rank in keys:
        window.push(task(rank, lane))
    assert popped(window) == [f"{lane}/{rank}" for lane, rank in sorted(keys)]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.sampled_from(["", "x" * 30]), st.booleans())))
def test_those_that_share_a_key_are_all_in_memory_or_all_behind_the_edge(
    places: list[tuple[int, int, str, bool]],
) -> None:
    window = whole(limit=3, max_bytes=60)
    pushed: list[ReadyTask] = []
    for lane, rank, context, alone in places:
        interruptions = Standing.SUSPECT if alone else 0
        one = ready_task(str(len(pushed)), lane=lane, rank=rank, context=context, interruptions=interruptions)
        pushed.append(one)
        window.push(one)
        edge = window.edge
        for other in pushed:
            behind = edge is not None and (other.lane, other.rank) > edge
            assert (other.id in window) != behind, f"{other} is lost, or in two places"


def test_tasks_that_come_and_go_leave_nothing_behind_though_none_is_handed_out() -> None:
    window = whole()
    window.push(task(1))
    for rank in range(2, 1_000):
        window.push(task(rank))
        window.discard([f"0/{rank}"])
        window.push(ready_task("again", rank=rank + 1))
    assert sum(len(line) for line in window._lines.values()) < 30
    assert popped(window) == ["0/1", "again"]
