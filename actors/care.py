"""When somebody must look after a worker, and what it needs: decided from what its owner sees of it."""

from enum import StrEnum

from callboard.actors.crew import Slot, SlotState

TAKE_BACK_SECONDS = 0.1
"""A batch that takes longer is taken back but for what runs: nobody waits behind a stranger."""
NOTHING_BEGUN_SECONDS = 1.0
"""A batch of which nothing has begun is taken back by then."""
UNRESPONSIVE_SECONDS = 10.0
"""A worker that neither begins nor reports is killed and replaced."""


class Care(StrEnum):
    """What a busy worker needs now."""

    NOTHING = "nothing"
    TAKE_BACK = "take_back"
    TIME_OUT = "time_out"
    KILL = "kill"


def care_for(slot: Slot, now: float) -> tuple[Care, float]:
    """Decide what a busy worker needs, and when to look again (monotonic seconds; infinity: only when it rings)."""
    batch = slot.batch
    if batch is None or slot.state is not SlotState.BUSY:
        return Care.NOTHING, float("inf")
    running = batch.running()
    if running is not None:
        begun = running[1].begun
        look_again = (batch.sent if begun is None else begun) + running[1].task.timeout_ms / 1_000
        if now >= look_again:
            return Care.TIME_OUT, now
    else:
        look_again = batch.last_sign + UNRESPONSIVE_SECONDS
        if now >= look_again:
            return Care.KILL, now
        if batch.flights:
            # Between two tasks there is nothing to see: one that runs too long is looked for in time as well.
            shortest = min(flight.task.timeout_ms for flight in batch.flights.values())
            look_again = min(look_again, max(batch.sent + shortest / 1_000, now + TAKE_BACK_SECONDS))
    if batch.flights and not batch.taken_back:
        slow = batch.sent + (TAKE_BACK_SECONDS if batch.began else NOTHING_BEGUN_SECONDS)
        if now >= slow:
            return Care.TAKE_BACK, now
        # Nobody rings when the first task begins, so that is looked for as well.
        look_again = min(look_again, slow, now + TAKE_BACK_SECONDS)
    return Care.NOTHING, look_again
