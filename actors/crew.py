"""The workers of one queue as its owner sees them, and who has which batch.

Plain data and pure decisions; processes and files are the Queue actor's and the owner's business.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from thespian.actors import ActorAddress

from callboard.actors.hand_out import JournalReader, Tokens
from callboard.actors.shared_tokens import MAX_OFFERED, SharedTokens
from callboard.actors.store import HandOut, ReadyTask
from callboard.actors.task import TaskState


class Moment(NamedTuple):
    """One reading of both clocks. wall: microseconds since the epoch, for people; mono: seconds, for deadlines."""

    wall: int
    mono: float


class SlotState(StrEnum):
    """What a worker is doing."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DYING = "dying"


class Doom(StrEnum):
    """Why the owner kills a worker; what happens to the task that ran there follows from it."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    INTERRUPT = "interrupt"
    """Shutdown, scale-down, or a worker that does not answer: the task is not charged."""


@dataclass(slots=True)
class Flight:
    """A task that a worker has, and what the store says of it now, which differs from `task` once it is handed out.

    begun_at: wall clock of the worker; begun: this process's monotonic clock.
    """

    task: ReadyTask
    state: str
    attempt: int
    begun_at: int | None = None
    begun: float | None = None
    logs: tuple[str, ...] = ()
    """What its attempt has logged, as far as that is known here."""
    launched: int | None = None
    """The process that it has left running, and waits for."""
    stored_launched: int | None = None
    """What the store knows of that."""
    announced: bool = False
    """Those who watch have been told that it has begun."""

    @property
    def attempt_number(self) -> int:
        """The number of the attempt that it is, or will be."""
        return self.attempt if self.state == TaskState.EXECUTING else self.attempt + 1

    def as_stored(self) -> ReadyTask:
        """Return the task as the store has it now."""
        return self.task._replace(state=self.state, attempt=self.attempt)


@dataclass(slots=True)
class Batch:
    """What a worker was handed in one go; `flights` holds what has neither ended nor been taken back, by index."""

    number: int
    sent: float
    ids: list[str]
    flights: dict[int, Flight]
    last_sign: float
    """Monotonic time of the last record or of the sending."""
    began: bool = False
    taken_back: bool = False
    """What had not begun was taken back once: no token is left of it."""

    def row(self, worker: str) -> HandOut:
        """Return the batch as the store keeps it."""
        return HandOut(self.number, worker, tuple(self.ids))

    def blank(self, keys: Iterable[int], worker: str) -> list[HandOut]:
        """Strike out what was taken back; return the hand-outs that are left, as they are to be stored."""
        for index in keys:
            self.ids[index] = ""
        return [self.row(worker)]

    def strike(self, task_id: str, worker: str) -> list[HandOut]:
        """Strike out a task that is in flight no more; return the hand-outs that named it, as they are to be stored."""
        return self.blank([self.ids.index(task_id)], worker) if task_id in self.ids else []

    def landed(self, key: int) -> None:
        """Take note that a task is in flight no more."""

    def number_of(self, _key: int) -> int:
        """Return the hand-out of a task."""
        return self.number

    def sent_at(self, _key: int) -> float:
        """Return when a task was handed out."""
        return self.sent

    def take_over(self) -> list[int]:
        """Return the hand-outs that are over when the batch is."""
        return [self.number]

    @property
    def all_ended(self) -> bool:
        """Whether the journal tells the end of every task.

        A worker writes the last end after it has found no more tokens, so it can't take one of the next batch for its
        own. Where some were taken back it may still have to find that out, and only its report says that it has.
        """
        return not self.flights and not self.taken_back

    def running(self) -> tuple[int, Flight] | None:
        """Return the task that has begun and not ended, with its index."""
        for index, flight in self.flights.items():
            if flight.begun_at is not None:
                return index, flight
        return None


@dataclass(slots=True)
class Slot:
    """One worker process and the two files shared with it."""

    name: str
    pid: int
    tokens: Tokens | SharedTokens
    journal: JournalReader
    state: SlotState = SlotState.STARTING
    address: ActorAddress | None = None
    batch: Batch | None = None
    doom: Doom | None = None
    fates: dict[int, Doom] = field(default_factory=dict)
    """Why it is killed, by the task that it is killed for; whatever else runs there by then is interrupted."""
    tasks_done: int = 0
    retiring: bool = False
    """To be stopped as soon as it has nothing to do (scale-down)."""
    busy_since: float = 0.0
    logs: Path | None = None
    """Where the worker writes what its tasks log."""
    shared: bool = False
    """It runs many tasks at once, and its batch is a `SharedBatch`."""
    capacity: int = 1
    alone: bool = False
    """It is there for tasks that must have a process to themselves."""
    series: int = 0
    """So many times a start had failed when it was started: its own failure is counted unless another one's was since."""
    ready_at: float | None = None
    """Monotonic time at which it said that it can run tasks."""
    worked: bool = False
    """It has begun a task."""
    spent: bool = False
    """It has asked to be replaced as soon as nothing runs there that could end."""

    @property
    def room(self) -> int:
        """How many tasks (of one that runs one at a time: batches) it may be given now."""
        if self.retiring or self.state not in {SlotState.IDLE, SlotState.BUSY}:
            return 0
        if not self.shared:
            return int(self.state is SlotState.IDLE)
        if self.batch is None:
            return min(self.capacity, MAX_OFFERED)
        waiting = sum(flight.begun_at is None for flight in self.batch.flights.values())
        return 0 if self.batch.taken_back else min(self.capacity - len(self.batch.flights), MAX_OFFERED - waiting)

    @property
    def in_flight(self) -> int:
        """How much of the concurrency it takes."""
        if self.batch is None or not self.batch.flights:
            return 0
        return len(self.batch.flights) if self.shared else 1


@dataclass(slots=True)
class Crew:
    """All workers of a queue, by name, and which worker has which task."""

    slots: dict[str, Slot] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    """task id → (worker's name, index in its batch)"""

    def idle(self) -> list[Slot]:
        """Return the workers that have nothing to do and may be given a batch."""
        return [slot for slot in self.slots.values() if slot.state is SlotState.IDLE and not slot.retiring]

    def room(self) -> int:
        """Return how much may be given to workers now."""
        return sum(slot.room for slot in self.slots.values())

    def busy(self) -> list[Slot]:
        """Return the workers that have a batch."""
        return [slot for slot in self.slots.values() if slot.batch is not None]

    def running(self) -> int:
        """Return how many tasks are being run (one a busy worker, or all that a shared one has)."""
        return sum(slot.in_flight for slot in self.slots.values())

    def launch(self, slot: Slot, number: int, tasks: list[ReadyTask], now: float) -> Batch:
        """Note that this worker, which runs one task at a time, has this batch."""
        flights = {index: Flight(task, task.state, task.attempt) for index, task in enumerate(tasks)}
        batch = Batch(number, now, [task.id for task in tasks], flights, now)
        slot.batch, slot.state, slot.busy_since = batch, SlotState.BUSY, now
        for index, task in enumerate(tasks):
            self.places[task.id] = (slot.name, index)
        return batch

    def land(self, slot: Slot, index: int) -> Flight | None:
        """Note that this task has left its worker; None when it had before."""
        flight = slot.batch.flights.pop(index, None) if slot.batch is not None else None
        if slot.batch is not None and flight is not None:
            slot.batch.landed(index)
            del self.places[flight.task.id]
        return flight

    def flight(self, task_id: str) -> tuple[Slot, int, Flight] | None:
        """Return where a handed-out task is."""
        place = self.places.get(task_id)
        if place is None:
            return None
        slot = self.slots[place[0]]
        assert slot.batch is not None
        return slot, place[1], slot.batch.flights[place[1]]
