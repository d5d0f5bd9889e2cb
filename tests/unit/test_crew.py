"""Who has what, and when somebody must look after a worker."""

from pathlib import Path

import pytest

from callboard.actors.care import NOTHING_BEGUN_SECONDS, TAKE_BACK_SECONDS, UNRESPONSIVE_SECONDS, Care, care_for
from callboard.actors.crew import Batch, Crew, Slot, SlotState
from callboard.actors.hand_out import JournalReader, Tokens
from tests.support.made_tasks import ready_task

SENT = 100.0
NEVER = float("inf")


@pytest.fixture
def crew(tmp_path: Path) -> Crew:
    """Two idle workers, a and b."""
    crew = Crew()
    for name in ("a", "b"):
        tokens, journal = Tokens.create(tmp_path / f"{name}.tokens"), JournalReader(tmp_path / f"{name}.journal", "boot", 1)
        tokens.close()
        journal.close()
        crew.slots[name] = Slot(name, 1, tokens, journal, SlotState.IDLE)
    return crew


def busy(crew: Crew, *timeouts_ms: int) -> tuple[Slot, Batch]:
    """Give worker a a batch of tasks with these timeouts."""
    slot = crew.slots["a"]
    tasks = [ready_task(f"t{index}", timeout_ms=timeout) for index, timeout in enumerate(timeouts_ms)]
    return slot, crew.launch(slot, 7, tasks, SENT)


def begin(batch: Batch, token: int, at: float) -> None:
    batch.flights[token].begun_at, batch.flights[token].begun = 1, at
    batch.began, batch.last_sign = True, at


def looks_again(slot: Slot, now: float, then: float) -> None:
    """Check that nothing is to be done now, and when somebody must look again."""
    care, look_again = care_for(slot, now)
    assert care is Care.NOTHING
    assert look_again == pytest.approx(then)


# ---------------------------------------------------------------- who has what


def test_a_batch_makes_its_worker_busy_and_gives_each_task_a_place(crew: Crew) -> None:
    slot, batch = busy(crew, 1_000, 1_000)
    assert (slot.state, slot.batch, slot.busy_since) == (SlotState.BUSY, batch, SENT)
    assert batch.row("a") == (7, "a", ("t0", "t1"))
    assert crew.idle() == [crew.slots["b"]]
    assert crew.busy() == [slot]
    assert crew.running() == 1
    assert crew.flight("t1") == (slot, 1, batch.flights[1])
    assert crew.flight("unknown") is None


def test_a_task_that_has_landed_is_nowhere_any_more(crew: Crew) -> None:
    slot, batch = busy(crew, 1_000, 1_000)
    landed = crew.land(slot, 0)
    assert landed is not None
    assert landed.task.id == "t0"
    assert crew.land(slot, 0) is None
    assert crew.flight("t0") is None
    assert list(batch.flights) == [1]


def test_a_worker_whose_tasks_have_all_landed_runs_nothing(crew: Crew) -> None:
    slot, _ = busy(crew, 1_000)
    crew.land(slot, 0)
    assert crew.running() == 0
    assert crew.busy() == [slot]  # until its bell has rung
    assert crew.land(crew.slots["b"], 0) is None


@pytest.mark.parametrize("state", [SlotState.STARTING, SlotState.BUSY, SlotState.DYING])
def test_only_an_idle_worker_with_a_future_gets_a_batch(crew: Crew, state: SlotState) -> None:
    crew.slots["a"].state = state
    crew.slots["b"].retiring = True
    assert crew.idle() == []


def test_a_task_in_flight_differs_from_what_was_read_only_in_what_the_hand_out_has_stored(crew: Crew) -> None:
    _, batch = busy(crew, 1_000)
    flight = batch.flights[0]
    flight.state, flight.attempt = "executing", 3
    assert flight.as_stored() == flight.task._replace(state="executing", attempt=3)


def test_the_running_task_is_the_one_that_has_begun(crew: Crew) -> None:
    slot, batch = busy(crew, 1_000, 1_000)
    assert batch.running() is None
    begin(batch, 0, SENT)
    crew.land(slot, 0)
    begin(batch, 1, SENT)
    assert batch.running() == (1, batch.flights[1])


# ---------------------------------------------------------------- care


@pytest.mark.parametrize("state", [SlotState.STARTING, SlotState.IDLE, SlotState.DYING])
def test_only_a_busy_worker_needs_care(crew: Crew, state: SlotState) -> None:
    slot, _ = busy(crew, 1)
    slot.state = state
    assert care_for(slot, SENT + 1_000) == (Care.NOTHING, NEVER)
    slot.state, slot.batch = SlotState.BUSY, None
    assert care_for(slot, SENT + 1_000) == (Care.NOTHING, NEVER)


@pytest.mark.parametrize(
    ("after", "care"),
    [
        (0.0, Care.NOTHING),
        (TAKE_BACK_SECONDS, Care.NOTHING),  # its process may just be loaded
        (NOTHING_BEGUN_SECONDS, Care.TAKE_BACK),  # somebody else may be quicker
        (UNRESPONSIVE_SECONDS, Care.KILL),
    ],
)
def test_a_batch_of_which_nothing_begins(crew: Crew, after: float, care: Care) -> None:
    slot, _ = busy(crew, 60_000, 60_000)
    assert care_for(slot, SENT + after)[0] is care


def test_a_batch_that_takes_long_is_taken_back_but_for_what_runs(crew: Crew) -> None:
    slot, batch = busy(crew, 60_000, 60_000)
    begin(batch, 0, SENT + 0.01)
    looks_again(slot, SENT + 0.05, SENT + TAKE_BACK_SECONDS)
    assert care_for(slot, SENT + TAKE_BACK_SECONDS)[0] is Care.TAKE_BACK
    batch.taken_back = True
    looks_again(slot, SENT + TAKE_BACK_SECONDS, SENT + 60.01)


def test_a_single_task_that_runs_long_is_looked_at_once_too_so_that_it_is_seen_running(crew: Crew) -> None:
    slot, batch = busy(crew, 60_000)
    begin(batch, 0, SENT)
    assert care_for(slot, SENT + TAKE_BACK_SECONDS)[0] is Care.TAKE_BACK


def test_a_task_times_out_from_its_beginning_not_from_the_hand_out(crew: Crew) -> None:
    slot, batch = busy(crew, 60_000, 2_000)
    begin(batch, 0, SENT)
    crew.land(slot, 0)
    begin(batch, 1, SENT + 5)
    batch.taken_back = True
    looks_again(slot, SENT + 6.9, SENT + 7)
    assert care_for(slot, SENT + 7) == (Care.TIME_OUT, SENT + 7)


def test_a_running_task_is_never_taken_for_silence(crew: Crew) -> None:
    slot, batch = busy(crew, 3_600_000)
    begin(batch, 0, SENT)
    batch.taken_back = True
    looks_again(slot, SENT + 3_000, SENT + 3_600)


def test_between_two_tasks_the_owner_looks_again_when_the_shortest_could_be_overdue(crew: Crew) -> None:
    slot, batch = busy(crew, 60_000, 300)
    batch.taken_back = batch.began = True
    looks_again(slot, SENT + 0.1, SENT + 0.3)
    # Overdue already, if it had begun at once: then a little later, and not in a hurry.
    looks_again(slot, SENT + 0.5, SENT + 0.5 + TAKE_BACK_SECONDS)
    looks_again(slot, SENT + 9.95, SENT + UNRESPONSIVE_SECONDS)


def test_a_worker_that_has_done_all_and_does_not_ring_is_given_up(crew: Crew) -> None:
    slot, batch = busy(crew, 60_000)
    crew.land(slot, 0)
    batch.last_sign = SENT + 5
    looks_again(slot, SENT + 6, SENT + 5 + UNRESPONSIVE_SECONDS)
    assert care_for(slot, SENT + 5 + UNRESPONSIVE_SECONDS)[0] is Care.KILL


@pytest.mark.parametrize("began", [None, 0.0, 0.5])
@pytest.mark.parametrize("taken_back", [False, True])
@pytest.mark.parametrize("timeouts_ms", [(), (1,), (300, 60_000)])
def test_a_worker_that_needs_nothing_now_is_looked_at_later(
    crew: Crew, began: float | None, taken_back: bool, timeouts_ms: tuple[int, ...]
) -> None:
    """Whatever its state: a moment in the past would wake the queue without a pause."""
    slot, batch = busy(crew, *timeouts_ms)
    batch.taken_back = taken_back
    if began is not None and batch.flights:
        begin(batch, 0, SENT + began)
    for step in range(1_200):
        now = SENT + step / 100
        care, look_again = care_for(slot, now)
        assert care is not Care.NOTHING or look_again > now
