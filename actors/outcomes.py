"""From journal to facts: what the workers' records mean for their tasks.

A fact is decided once, when it is read, and kept until a transaction has stored it.
"""

import random

from callboard.actors.crew import Crew, Doom, Flight, Moment, Slot
from callboard.actors.facts import FactKeeper
from callboard.actors.hand_out import ENDS, Mark
from callboard.actors.lifecycle import Failed, begin, suspect
from callboard.actors.run_times import RunTimes
from callboard.actors.shared_tokens import key_of
from callboard.actors.side_records import note, recall_logs
from callboard.actors.task import ErrorKind, TaskState
from callboard.actors.window import Window

_BEGUN = int(Mark.BEGUN)
"""An enumeration's members are looked up slowly, and each task has two records."""


class Outcomes(FactKeeper):
    """Turns records and deaths into facts, and gives back to the window what nobody has begun."""

    def __init__(self, queue: str, crew: Crew, window: Window, run_times: RunTimes, rng: random.Random) -> None:
        super().__init__(queue, window, rng)
        self._crew = crew
        self._run_times = run_times

    def sweep(self, slot: Slot, now: Moment) -> None:
        """Read what this worker has written since the last time."""
        batch = slot.batch
        if batch is None:
            return
        ran: dict[str, list[int]] = {}
        running: dict[int, Flight] = {}
        for record in slot.journal.read():
            number, token, mark, at, _ = record
            # A shared batch has many numbers, and none is its own; a key is never as small as a token.
            key = token if number == batch.number else key_of(number, token)
            flight = batch.flights.get(key)
            if flight is None:
                continue
            batch.last_sign, batch.began = now.mono, True
            if mark == _BEGUN:
                flight.begun_at = at
                running[key] = flight
            elif mark not in ENDS:
                note(flight, record)
                if flight.launched != flight.stored_launched:
                    self._mark(flight)
            else:
                running.pop(key, None)
                self._crew.land(slot, key)
                slot.tasks_done += 1
                started_at = flight.begun_at or at
                ran.setdefault(flight.task.type, []).append(at - started_at)
                self.ended(flight, record, started_at, unwanted=slot.fates.pop(key, None) is Doom.CANCEL)
        slot.worked |= bool(ran or running)
        for type_, times in ran.items():
            self._run_times.ran(type_, sum(times) / len(times))
        for key, flight in running.items():
            # The worker's wall clock placed between the sending and now: a clock that jumps makes nobody late.
            since = (now.wall - (flight.begun_at or now.wall)) / 1e6
            flight.begun = min(max(batch.sent_at(key), now.mono - since), now.mono)
            self.events.began(flight, flight.begun_at or now.wall)
        if slot.shared:
            self.facts.change.hand_outs_ended += batch.take_over()

    def take_back(self, slot: Slot) -> None:
        """Take from a worker what it has not begun; its stored hand-out is cut to the rest."""
        batch = slot.batch
        if batch is None:
            return
        keys = slot.tokens.take_all()
        # One with many tasks has been told of nothing if no token was left, and will not say that it has found none.
        batch.taken_back |= not slot.shared or bool(keys)
        for key in keys:
            flight = self._crew.land(slot, key)
            if flight is not None:
                self.release(flight.as_stored())
        if keys:
            self.facts.change.hand_outs += batch.blank(keys, slot.name)
        if slot.shared:
            self.facts.change.hand_outs_ended += batch.take_over()

    def strike(self, task_id: str) -> None:
        """Have no open hand-out name a task any more; all that has become of it there must be known."""
        for slot in self._crew.busy():
            assert slot.batch is not None
            self.facts.change.hand_outs += slot.batch.strike(task_id, slot.name)

    def mark_running(self, slot: Slot) -> None:
        """Have the store say `executing` for a task that has been running for a while."""
        running = slot.batch.running() if slot.batch is not None else None
        if running is not None and running[1].state != TaskState.EXECUTING:
            self._mark(running[1])

    def _mark(self, flight: Flight) -> None:
        update = begin(flight.as_stored(), flight.begun_at or 0, flight.launched)
        self._write(update)
        flight.state, flight.attempt, flight.stored_launched = update.state, update.attempt, flight.launched

    def reported(self, slot: Slot) -> None:
        """Note that the worker's batch is over: what is neither ended nor taken back was never begun."""
        batch = slot.batch
        assert batch is not None
        for index in list(batch.flights):
            flight = self._crew.land(slot, index)
            assert flight is not None
            self.release(flight.as_stored())
        self.facts.change.hand_outs_ended += batch.take_over()
        slot.batch = None

    def died(self, slot: Slot, now: Moment, exit_name: str | int | None, trace: str | None) -> None:
        """Account for a worker that is gone: it has written all it ever will."""
        self.sweep(slot, now)
        batch = slot.batch
        if batch is None:
            return
        recall_logs(slot, batch)
        begun = sum(flight.begun_at is not None for flight in batch.flights.values())
        for index, flight in list(batch.flights.items()):
            # The task that it was to die for may have ended just before, and another may have begun.
            doom = slot.fates.get(index, Doom.INTERRUPT if slot.doom is not None else None)
            # One whose token was taken and that has not begun goes back, unless somebody wants it cancelled.
            if flight.begun_at is not None or doom is Doom.CANCEL:
                self._crew.land(slot, index)
                self._run_times.crashed({flight.task.type}, now.wall)
                number, alone = batch.number_of(index), begun == 1
                self._fell(number, flight, doom, now, exit_name=exit_name, trace=trace, alone=alone)
        self.reported(slot)

    def _fell(
        self,
        number: int,
        flight: Flight,
        doom: Doom | None,
        now: Moment,
        *,
        exit_name: str | int | None,
        trace: str | None,
        alone: bool,
    ) -> None:
        """Decide for a task that ran in a worker that died, by why it died and whether it ran alone there."""
        started_at = flight.begun_at or now.wall
        if flight.begun_at is not None:
            self.events.began(flight, flight.begun_at)
        if doom is Doom.CANCEL:
            self.cancel(flight.as_stored(), now, None if flight.begun_at is None else number, flight.begun_at)
            return
        if doom is Doom.TIMEOUT:
            message = f"killed: it ran longer than its timeout of {flight.task.timeout_ms} ms"
            failure = Failed(ErrorKind.TIMEOUT, message, started_at, now.wall, logs=flight.logs)
        elif doom is Doom.INTERRUPT:
            failure = Failed(ErrorKind.INTERRUPTED, "its worker was stopped", started_at, now.wall, logs=flight.logs)
        else:
            how = f"signal {exit_name}" if isinstance(exit_name, str) else f"exit code {exit_name}"
            message = f"the worker process died of {how}" if exit_name is not None else "the worker process died"
            failure = Failed(ErrorKind.CRASH, message, started_at, now.wall, trace, exit_name, logs=flight.logs)
            if not alone and not self.at_most_once:
                self._apply(flight.task, suspect(flight.as_stored(), number, failure), failure)
                return
        self.failed(flight.as_stored(), number, failure)
