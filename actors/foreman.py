"""What a queue's owner does about its workers: takes what they tell, takes back, times out, has them killed."""

import logging
import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from thespian.actors import ActorAddress

from callboard.actors.care import Care, care_for
from callboard.actors.crew import Crew, Doom, Moment, Slot, SlotState
from callboard.actors.outcomes import Outcomes
from callboard.actors.rates import Rates
from callboard.actors.run_times import RunTimes
from callboard.actors.shared_batch import SharedBatch, needs_of, rung, stop_task
from callboard.actors.window import Window

log = logging.getLogger(__name__)


class Send(NamedTuple):
    """A message to be sent once the turn is stored."""

    to: ActorAddress
    message: Any


class Kill(NamedTuple):
    """A worker to be killed with its process group."""

    worker: str


class Foreman:
    """The half of a queue's owner that deals with workers; `QueueOwner` is the whole.

    outbox: what is to be done once the turn is stored. Workers' ends become facts in `outcomes`.
    """

    def __init__(self, queue: str, rng: random.Random, now: Moment) -> None:
        self.queue = queue
        self.outbox: list[Send | Kill] = []
        self.crew = Crew()
        self.window = Window()
        self.run_times = RunTimes()
        self.rates = Rates(now.mono)
        self.outcomes = Outcomes(queue, self.crew, self.window, self.run_times, rng)

    def hired(self, slot: Slot) -> None:
        """Take note of a worker that is being started."""
        self.crew.slots[slot.name] = slot

    def reported(self, worker: str, number: int, now: Moment, *, spent: bool = False) -> bool:
        """Handle a worker's bell: its batch has no tokens left and it waits for the next. False: that was seen before.

        One with many tasks rings when some have ended, or when it has found fewer tokens than it was told of.
        """
        slot = self.crew.slots.get(worker)
        if slot is not None and slot.shared:
            if spent and not slot.spent:
                log.info("worker %s of queue %s is replaced as soon as its other tasks have ended", worker, self.queue)
            rung(slot, now.mono, spent=spent)
            return True
        if slot is None or slot.batch is None or slot.batch.number != number:
            return False
        self.outcomes.sweep(slot, now)
        self._batch_over(slot, now)
        return True

    def _batch_over(self, slot: Slot, now: Moment) -> None:
        self._count_busy(slot, now)
        self.outcomes.reported(slot)
        if slot.state is SlotState.BUSY:
            slot.state = SlotState.IDLE

    def _count_busy(self, slot: Slot, now: Moment) -> None:
        busy = slot.in_flight if slot.shared else 1
        self.rates.add("busy", busy * (now.mono - slot.busy_since), now.mono)
        slot.busy_since = now.mono

    def gone(self, worker: str, exit_name: str | int | None, trace: str | None, now: Moment) -> Slot | None:
        """Handle the death of a worker: it has written all it ever will."""
        slot = self.crew.slots.get(worker)
        if slot is None:
            return None
        if slot.batch is not None:
            self._count_busy(slot, now)
        self.outcomes.take_back(slot)
        self.outcomes.died(slot, now, exit_name, trace)
        del self.crew.slots[worker]
        return slot

    def doom(self, slot: Slot, doom: Doom, index: int | None = None) -> None:
        """Have a worker killed; what becomes of its running task follows from `doom`.

        Where it runs others too, that one task is stopped, in the turn that follows.
        """
        if index is not None:
            slot.fates[index] = doom
        if slot.state is SlotState.DYING or (slot.shared and index is not None):
            return
        slot.state, slot.doom = SlotState.DYING, doom
        self.outbox.append(Kill(slot.name))

    def look_after(self, slot: Slot, now: Moment) -> None:
        """Read what a busy worker has done, and do what it needs."""
        if slot.shared:
            self._count_busy(slot, now)
        self.outcomes.sweep(slot, now)
        if slot.batch is not None and slot.batch.all_ended:
            # It rings in a moment; the turn that saw this can give it its next batch without waiting for that.
            self._batch_over(slot, now)
            return
        if slot.shared:
            self._look_after_many(slot, now)
            return
        care, _ = care_for(slot, now.mono)
        if care is Care.TAKE_BACK:
            self.outcomes.take_back(slot)
            self.outcomes.sweep(slot, now)
            self.outcomes.mark_running(slot)
        elif care is Care.TIME_OUT:
            # Take the rest back first and look again: only if that very task still runs does its process die.
            self.outcomes.take_back(slot)
            self.outcomes.sweep(slot, now)
            running = slot.batch.running() if slot.batch is not None else None
            if running is not None and care_for(slot, now.mono)[0] is Care.TIME_OUT:
                self.doom(slot, Doom.TIMEOUT, running[0])
        elif care is Care.KILL:
            log.warning("worker %s of queue %s does not answer: it is replaced", slot.name, self.queue)
            self.outcomes.take_back(slot)
            self.doom(slot, Doom.INTERRUPT)

    def _look_after_many(self, slot: Slot, now: Moment) -> None:
        needs, batch = needs_of(slot, now.mono), slot.batch
        assert isinstance(batch, SharedBatch)
        if needs.take_back:
            batch.all_taken_back()
            self.outcomes.take_back(slot)
            self.outcomes.sweep(slot, now)
        for key in needs.overdue:
            if key in batch.flights:
                slot.fates[key] = Doom.TIMEOUT
        for key in needs.stop:
            if key in batch.flights:
                batch.asked[key] = now.mono
                self.outbox.append(Send(slot.address, stop_task(slot, key)))
        if needs.condemn and not slot.retiring:
            log.info("worker %s of queue %s is replaced as soon as its other tasks have ended", slot.name, self.queue)
            slot.retiring = True
        if needs.kill:
            self.outcomes.take_back(slot)
            self.doom(slot, Doom.INTERRUPT)

    def next_care(self, slot: Slot, now: Moment) -> float:
        """Return when to look after a busy worker if it doesn't ring before, in monotonic seconds."""
        return needs_of(slot, now.mono).look_again if slot.shared else care_for(slot, now.mono)[1]

    def release_all(self, slots: Iterable[Slot], now: Moment) -> None:
        """Take back from these workers what they have not begun."""
        for slot in slots:
            self.outcomes.take_back(slot)
            self.outcomes.sweep(slot, now)
