"""What a worker has that runs many tasks at once, and what it needs: plain data and pure decisions, as in `crew`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from callboard.actors.care import NOTHING_BEGUN_SECONDS, UNRESPONSIVE_SECONDS
from callboard.actors.crew import Batch, Crew, Doom, Flight, Slot, SlotState
from callboard.actors.messages import StopTask
from callboard.actors.shared_tokens import index_of, key_of, number_of
from callboard.actors.store import HandOut, ReadyTask

STOP_SECONDS: Final = 1.0
"""A task that was asked to stop has so long. Longer: it can't be stopped but with its process."""
JOURNAL_BYTES: Final = 16_000_000
"""A worker that is never idle keeps its journal, so it is replaced when that has become so long."""


@dataclass(slots=True)
class Part:
    """One hand-out in a shared batch. left: how many of its tasks are still in flight."""

    ids: list[str]
    sent: float
    left: int
    taken_back: bool = False


@dataclass(slots=True)
class SharedBatch(Batch):
    """All hand-outs that a worker has at a time; it lasts until none is left. `flights` by key: batch and index.

    Its own `number` is 0, which no hand-out has. `taken_back`: the worker may still have to find out that some tokens are
    gone, and gets nothing before it has rung.
    """

    parts: dict[int, Part] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)
    """Hand-outs all of whose tasks have landed, not stored yet."""
    asked: dict[int, float] = field(default_factory=dict)
    """When the worker was asked to stop a task, by key."""

    def add(self, number: int, tasks: list[ReadyTask], now: float) -> list[int]:
        """Take in a hand-out; return its tasks' keys."""
        self.parts[number] = Part([task.id for task in tasks], now, len(tasks))
        keys = [key_of(number, index) for index in range(len(tasks))]
        for key, task in zip(keys, tasks, strict=True):
            self.flights[key] = Flight(task, task.state, task.attempt)
        self.last_sign = now
        return keys

    def landed(self, key: int) -> None:
        """Take note that a task is in flight no more."""
        number = number_of(key)
        part = self.parts[number]
        part.left -= 1
        self.asked.pop(key, None)
        if not part.left:
            del self.parts[number]
            self.over.append(number)

    def all_taken_back(self) -> None:
        """Take note that no token is left: what has not begun by now is just about to, or never will."""
        for part in self.parts.values():
            part.taken_back = True

    def number_of(self, key: int) -> int:
        """Return the hand-out of a task."""
        return number_of(key)

    def sent_at(self, key: int) -> float:
        """Return when a task was handed out."""
        return self.parts[number_of(key)].sent

    def blank(self, keys: Iterable[int], worker: str) -> list[HandOut]:
        """Strike out what was taken back; return the hand-outs that are left, as they are to be stored."""
        numbers = {number_of(key) for key in keys}
        for key in keys:
            if (part := self.parts.get(number_of(key))) is not None:
                part.ids[key - key_of(number_of(key), 0)] = ""
        return [HandOut(number, worker, tuple(self.parts[number].ids)) for number in numbers if number in self.parts]

    def strike(self, task_id: str, worker: str) -> list[HandOut]:
        """Strike out a task that is in flight no more; return the hand-outs that named it, as they are to be stored."""
        named = [(number, part.ids.index(task_id)) for number, part in self.parts.items() if task_id in part.ids]
        return self.blank([key_of(number, index) for number, index in named], worker)

    def take_over(self) -> list[int]:
        """Return, once, the hand-outs that are over."""
        over, self.over = self.over, []
        return over


def join(crew: Crew, slot: Slot, number: int, tasks: list[ReadyTask], now: float) -> list[int]:
    """Note that a worker has one hand-out more; return its tasks' keys."""
    if slot.batch is None:
        slot.batch = SharedBatch(0, now, [], {}, now)
        slot.state, slot.busy_since = SlotState.BUSY, now
    assert isinstance(slot.batch, SharedBatch)
    keys = slot.batch.add(number, tasks, now)
    for key, task in zip(keys, tasks, strict=True):
        crew.places[task.id] = (slot.name, key)
    return keys


def leave(slot: Slot, number: int) -> None:
    """Forget a hand-out that could not be stored, all of whose tasks have landed."""
    assert isinstance(slot.batch, SharedBatch)
    slot.batch.over.remove(number)
    if slot.batch.all_ended and not slot.batch.over:
        slot.batch, slot.state = None, SlotState.IDLE


def rung(slot: Slot, now: float, *, spent: bool) -> None:
    """Take note that a worker has rung: it is awake and knows what was taken back from it."""
    slot.spent |= spent
    slot.retiring |= spent
    if slot.batch is not None:
        slot.batch.last_sign, slot.batch.taken_back = now, False


def stop_task(slot: Slot, key: int) -> StopTask:
    """Return the message that has a worker stop one task for what it is doomed for."""
    return StopTask(number_of(key), index_of(key), timed_out=slot.fates[key] is Doom.TIMEOUT)


@dataclass(slots=True)
class Needs:
    """What is to be done about a worker now, and when to look again.

    overdue: tasks whose time is over. stop: tasks that the worker is to be asked to stop. condemn: it gets nothing more
    and is replaced. kill: nothing that runs there is worth waiting for.
    """

    overdue: list[int] = field(default_factory=list)
    stop: list[int] = field(default_factory=list)
    take_back: bool = False
    condemn: bool = False
    kill: bool = False
    look_again: float = float("inf")


def needs_of(slot: Slot, now: float) -> Needs:
    """Decide what a worker with many tasks needs. A task that has begun is never ended for another one's sake."""
    needs = Needs(condemn=slot.spent)
    batch = slot.batch
    if not isinstance(batch, SharedBatch) or slot.state is not SlotState.BUSY:
        return needs
    hopeless = 0
    for key, flight in batch.flights.items():
        if flight.begun is None:
            hopeless += _not_begun(batch, key, now, needs)
        else:
            due = flight.begun + flight.task.timeout_ms / 1_000
            hopeless += _running(slot, key, due, now, needs)
    if not batch.flights:
        # It was to find out that tokens are gone, and to say so.
        silent_until = batch.last_sign + UNRESPONSIVE_SECONDS
        needs.condemn |= now >= silent_until
        needs.look_again = min(needs.look_again, silent_until)
    needs.condemn |= slot.journal.size > JOURNAL_BYTES
    needs.kill = (slot.retiring or needs.condemn) and hopeless == len(batch.flights) and bool(hopeless or needs.condemn)
    return needs


def _running(slot: Slot, key: int, due: float, now: float, needs: Needs) -> bool:
    """Note what a running task needs; return whether it comes to no end by itself, as far as can be known."""
    assert isinstance(slot.batch, SharedBatch)
    if key not in slot.fates:
        if now < due:
            needs.look_again = min(needs.look_again, due)
            return False
        needs.overdue.append(key)
    asked = slot.batch.asked.get(key)
    if asked is None:
        needs.stop.append(key)
        needs.look_again = now
        return False
    stuck_from = asked if slot.spent else asked + STOP_SECONDS
    if now < stuck_from:
        needs.look_again = min(needs.look_again, stuck_from)
        return False
    needs.condemn = True
    return True


def _not_begun(batch: SharedBatch, key: int, now: float, needs: Needs) -> bool:
    part = batch.parts[number_of(key)]
    given_up = part.sent + UNRESPONSIVE_SECONDS
    if now >= given_up:
        needs.condemn = True
        return True
    look_again = given_up
    if not part.taken_back:
        look_again = part.sent + NOTHING_BEGUN_SECONDS
        needs.take_back |= now >= look_again
    needs.look_again = min(needs.look_again, look_again)
    return False
