"""What a worker needs that runs many tasks at once: each task for itself, and the process only when nothing else helps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.care import NOTHING_BEGUN_SECONDS, UNRESPONSIVE_SECONDS
from callboard.actors.crew import Crew, Doom, Slot, SlotState
from callboard.actors.hand_out import JournalReader
from callboard.actors.messages import StopTask
from callboard.actors.shared_batch import JOURNAL_BYTES, STOP_SECONDS, SharedBatch, join, leave, needs_of, rung, stop_task
from callboard.actors.shared_tokens import MAX_OFFERED, SharedTokens, index_of, key_of, number_of
from callboard.actors.store import HandOut
from tests.support.made_tasks import ready_task

SENT = 100.0


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    tokens, journal = SharedTokens.create(tmp_path / "tokens"), JournalReader(tmp_path / "journal", "boot", 1)
    yield Slot("w1", 1, tokens, journal, SlotState.IDLE, shared=True, capacity=3)
    tokens.close()
    journal.close()


def launch(slot: Slot, *timeouts_ms: int, number: int = 7, now: float = SENT) -> list[int]:
    tasks = [ready_task(f"{number}/{index}", timeout_ms=timeout) for index, timeout in enumerate(timeouts_ms)]
    return join(Crew({"w1": slot}), slot, number, tasks, now)


def batch_of(slot: Slot) -> SharedBatch:
    assert isinstance(slot.batch, SharedBatch)
    return slot.batch


def begin(slot: Slot, *keys: int, at: float = SENT) -> None:
    for key in keys:
        flight = batch_of(slot).flights[key]
        flight.begun_at, flight.begun = 1, at


# ---------------------------------------------------------------- what it has


def test_a_key_names_a_batch_and_an_index() -> None:
    key = key_of(70_000_000_000, 255)
    assert (number_of(key), index_of(key)) == (70_000_000_000, 255)


def test_it_has_room_until_all_its_slots_are_taken(slot: Slot) -> None:
    assert (slot.room, slot.in_flight) == (3, 0)
    launch(slot, 1_000, 1_000)
    assert (slot.state, slot.room, slot.in_flight) == (SlotState.BUSY, 1, 2)
    launch(slot, 1_000, number=8)
    assert (slot.room, slot.in_flight) == (0, 3)


def test_it_gets_nothing_while_it_may_not_know_what_was_taken_back_or_has_no_future(slot: Slot) -> None:
    launch(slot, 1_000)
    batch_of(slot).taken_back = True
    assert slot.room == 0
    rung(slot, SENT + 1, spent=False)
    assert slot.room == 2
    rung(slot, SENT + 1, spent=True)
    assert (slot.room, slot.retiring) == (0, True)


def test_no_more_is_offered_than_the_fifo_surely_holds(slot: Slot) -> None:
    slot.capacity = 10_000
    assert slot.room == MAX_OFFERED
    keys = launch(slot, *[1_000] * 200)
    assert slot.room == MAX_OFFERED - 200
    begin(slot, *keys)
    assert slot.room == MAX_OFFERED


def test_a_hand_out_is_over_when_its_last_task_has_landed(slot: Slot) -> None:
    crew = Crew({"w1": slot})
    first, second = launch(slot, 1_000, 1_000), launch(slot, 1_000, number=8)
    crew.places = {"7/0": ("w1", first[0]), "7/1": ("w1", first[1]), "8/0": ("w1", second[0])}
    batch = batch_of(slot)
    crew.land(slot, first[0])
    assert batch.blank(first[:1], "w1") == [HandOut(7, "w1", ("", "7/1"))]
    crew.land(slot, first[1])
    assert batch.blank(first[1:], "w1") == []
    assert batch.take_over() == [7]
    assert batch.take_over() == []
    crew.land(slot, second[0])
    leave(slot, 8)
    assert (slot.batch, slot.state) == (None, SlotState.IDLE)


def test_a_task_that_has_landed_is_struck_out_of_the_hand_outs_that_last(slot: Slot) -> None:
    crew = Crew({"w1": slot})
    keys = launch(slot, 1_000, 1_000)
    launch(slot, 1_000, number=8)
    crew.places = {"7/0": ("w1", keys[0])}
    crew.land(slot, keys[0])
    assert batch_of(slot).strike("7/0", "w1") == [HandOut(7, "w1", ("", "7/1"))]
    assert batch_of(slot).strike("7/0", "w1") == []


def test_tokens_are_either_sides_never_both(tmp_path: Path, slot: Slot) -> None:
    other = SharedTokens(tmp_path / "tokens")
    keys = [key_of(7, index) for index in range(256)] + [key_of(8, 0)]
    slot.tokens.put(keys)  # type: ignore[arg-type]
    assert other.take_all() == keys
    assert list(slot.tokens.take_all()) == []
    other.put([])
    other.put(keys[5:6])
    assert list(slot.tokens.take_all()) == keys[5:6]
    other.close()


# ---------------------------------------------------------------- what it needs


def test_nothing_is_needed_before_the_first_timeout(slot: Slot) -> None:
    keys = launch(slot, 60_000, 2_000)
    begin(slot, *keys)
    needs = needs_of(slot, SENT + 1)
    assert (needs.overdue, needs.stop, needs.take_back, needs.condemn, needs.kill) == ([], [], False, False, False)
    assert needs.look_again == SENT + 2


def test_a_task_that_is_late_is_asked_to_stop_then_its_process_gets_nothing_more(slot: Slot) -> None:
    late, other = launch(slot, 2_000, 60_000)
    begin(slot, late, other)
    needs = needs_of(slot, SENT + 2)
    assert (needs.overdue, needs.stop) == ([late], [late])
    slot.fates[late], batch_of(slot).asked[late] = Doom.TIMEOUT, SENT + 2
    assert stop_task(slot, late) == StopTask(7, 0, timed_out=True)
    needs = needs_of(slot, SENT + 2.5)
    assert (needs.overdue, needs.stop, needs.condemn, needs.look_again) == ([], [], False, SENT + 2 + STOP_SECONDS)
    needs = needs_of(slot, SENT + 2 + STOP_SECONDS)
    assert (needs.condemn, needs.kill, needs.look_again) == (True, False, SENT + 60)
    Crew({"w1": slot}, {"7/1": ("w1", other)}).land(slot, other)
    assert needs_of(slot, SENT + 20).kill


def test_a_worker_that_says_that_it_can_not_stop_a_task_is_believed_at_once(slot: Slot) -> None:
    (key,) = launch(slot, 60_000)
    begin(slot, key)
    slot.fates[key] = Doom.CANCEL
    assert needs_of(slot, SENT + 1).stop == [key]
    assert stop_task(slot, key) == StopTask(7, 0, timed_out=False)
    batch_of(slot).asked[key] = SENT + 1
    assert not needs_of(slot, SENT + 1.1).kill
    rung(slot, SENT + 1.1, spent=True)
    assert needs_of(slot, SENT + 1.1).kill


def test_what_does_not_begin_is_taken_back_once_and_ends_a_process_only_if_nothing_runs_there(slot: Slot) -> None:
    stuck, running = launch(slot, 60_000, 60_000)
    begin(slot, running)
    assert needs_of(slot, SENT + 0.5).look_again == SENT + NOTHING_BEGUN_SECONDS
    assert needs_of(slot, SENT + NOTHING_BEGUN_SECONDS).take_back
    batch_of(slot).all_taken_back()
    needs = needs_of(slot, SENT + NOTHING_BEGUN_SECONDS)
    assert (needs.take_back, needs.condemn, needs.look_again) == (False, False, SENT + UNRESPONSIVE_SECONDS)
    needs = needs_of(slot, SENT + UNRESPONSIVE_SECONDS)
    assert (needs.condemn, needs.kill) == (True, False)
    Crew({"w1": slot}, {"7/1": ("w1", running)}).land(slot, running)
    assert needs_of(slot, SENT + UNRESPONSIVE_SECONDS).kill
    assert list(batch_of(slot).flights) == [stuck]


def test_one_that_has_nothing_and_never_says_that_it_knows_is_killed(slot: Slot) -> None:
    (key,) = launch(slot, 60_000)
    Crew({"w1": slot}, {"7/0": ("w1", key)}).land(slot, key)
    batch_of(slot).taken_back = True
    needs = needs_of(slot, SENT + 1)
    assert (needs.kill, needs.look_again) == (False, SENT + UNRESPONSIVE_SECONDS)
    assert needs_of(slot, SENT + UNRESPONSIVE_SECONDS).kill


def test_one_that_was_never_idle_for_long_is_replaced_before_its_journal_fills_the_disk(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = launch(slot, 60_000)
    begin(slot, key)
    monkeypatch.setattr(JournalReader, "size", JOURNAL_BYTES + 1)
    needs = needs_of(slot, SENT + 1)
    assert (needs.condemn, needs.kill) == (True, False)


@pytest.mark.parametrize("state", [SlotState.STARTING, SlotState.IDLE, SlotState.DYING])
def test_only_a_busy_worker_needs_anything(slot: Slot, state: SlotState) -> None:
    launch(slot, 1)
    slot.state = state
    needs = needs_of(slot, SENT + 1_000)
    assert (needs.stop, needs.take_back, needs.kill, needs.look_again) == ([], False, False, float("inf"))
