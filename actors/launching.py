"""Handing out: which tasks go to which worker in one batch, what the store must know of it, and how to undo it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from callboard.actors.crew import Crew, Flight, Slot, SlotState
from callboard.actors.hand_out import MAX_BATCH, Tokens
from callboard.actors.lifecycle import begin
from callboard.actors.messages import Run, RunTask
from callboard.actors.run_times import BATCH_BYTES, BATCH_MICROSECONDS, RunTimes
from callboard.actors.shared_batch import join, leave
from callboard.actors.store import HandOut, Insert, ReadyTask, TaskUpdate
from callboard.actors.task import CLAIMED, TaskState
from callboard.actors.window import Window

WORTH_A_MESSAGE_MICROSECONDS = 1_000
"""About what it costs, in all processes together, to hand out a batch and to hear of its end."""
_EXECUTING = str(TaskState.EXECUTING)


@dataclass(slots=True)
class Launch:
    """A batch that is about to be handed out, and the worker that gets it."""

    slot: Slot
    number: int
    tasks: list[ReadyTask]
    keys: Sequence[int]
    """What names each task in its worker's batch and in the FIFO."""

    @property
    def flights(self) -> list[Flight]:
        """The tasks in flight, in order."""
        assert self.slot.batch is not None
        flights = self.slot.batch.flights
        return [flights[key] for key in self.keys]

    @property
    def alone(self) -> bool:
        """Whether all of it begins at once, as far as can be known."""
        return self.slot.shared or len(self.tasks) == 1

    def row(self) -> HandOut:
        """Return the batch as the store keeps it."""
        return HandOut(self.number, self.slot.name, tuple([task.id for task in self.tasks]))


class Launcher:
    """Chooses batches from the window. last_number: of the last hand-out ever made of this queue."""

    def __init__(self, crew: Crew, window: Window, run_times: RunTimes, last_number: int) -> None:
        self._crew = crew
        self._window = window
        self._run_times = run_times
        self._last_number = last_number

    def free(self, concurrency: int) -> int:
        """Return how many workers may be given a batch now, or tasks where a worker runs many."""
        return min(self._crew.room(), concurrency - self._crew.running())

    def has_work(self) -> bool:
        """Tell whether there is a task that may be handed out, given that somebody is free."""
        window = self._window
        if window.peek_alone() is not None and any(not slot.shared or slot.alone for slot in self._crew.idle()):
            return True
        return window.peek() is not None and any(slot.room and not slot.alone for slot in self._crew.slots.values())

    def next_number(self) -> int:
        """Take the number of the next hand-out."""
        self._last_number += 1
        return self._last_number

    def choose(self, free: int, wall: int, mono: float) -> list[Launch]:
        """Choose batches for at most so many idle workers: about 20 ms of work each, shared out evenly.

        What one worker has done before a second has got its message goes to one. Where workers run many tasks at once,
        each gets as many as it has room for, and at most so many tasks are chosen.
        """
        launches: list[Launch] = []
        if self._window.peek_alone() is not None:
            self._choose_alone(launches, free, mono)
        idle = [slot for slot in self._crew.idle() if not slot.shared]
        for slot in idle[: max(free - len(launches), 0)]:
            head = self._window.peek()
            if head is None:
                break
            waiting = len(self._window)
            worth = math.ceil(waiting * self._run_times.mean(head) / WORTH_A_MESSAGE_MICROSECONDS)
            tasks = self._batch(math.ceil(waiting / max(min(free - len(launches), worth), 1)), wall)
            self._launch(launches, slot, tasks, mono)
        shared = [slot for slot in self._crew.slots.values() if slot.shared and not slot.alone and slot.room]
        if shared:
            self._share_out(launches, shared, free - len(launches), mono)
        return launches

    def _choose_alone(self, launches: list[Launch], free: int, mono: float) -> None:
        """Give each task that must run alone a process that runs nothing else."""
        for slot in self._crew.idle():
            task = self._window.peek_alone()
            if task is None or len(launches) >= free:
                return
            if slot.alone or not slot.shared:
                self._window.take_alone(task)
                self._launch(launches, slot, [task], mono)

    def _share_out(self, launches: list[Launch], slots: list[Slot], free: int, mono: float) -> None:
        """Give each worker about as many tasks; all of them begin at once."""
        for position, slot in enumerate(slots):
            share = math.ceil(min(free, len(self._window)) / (len(slots) - position))
            while (most := min(share, slot.room, MAX_BATCH)) > 0 and (tasks := self._some(most)):
                self._launch(launches, slot, tasks, mono)
                share, free = share - len(tasks), free - len(tasks)

    def _launch(self, launches: list[Launch], slot: Slot, tasks: list[ReadyTask], mono: float) -> None:
        self._last_number += 1
        if slot.shared:
            keys: Sequence[int] = join(self._crew, slot, self._last_number, tasks, mono)
        else:
            self._crew.launch(slot, self._last_number, tasks, mono)
            keys = range(len(tasks))
        launches.append(Launch(slot, self._last_number, tasks, keys))

    def undo(self, launches: list[Launch]) -> None:
        """Put everything back as it was before `choose`."""
        for launch in launches:
            for key in launch.keys:
                self._crew.land(launch.slot, key)
            if launch.slot.shared:
                leave(launch.slot, launch.number)
            else:
                launch.slot.batch, launch.slot.state = None, SlotState.IDLE
            for task in launch.tasks:
                self._window.push(task)

    def _some(self, limit: int) -> list[ReadyTask]:
        tasks: list[ReadyTask] = []
        size = 0
        while len(tasks) < limit and (task := self._window.peek()) is not None:
            size += len(task.context)
            if tasks and size > BATCH_BYTES:
                break
            self._window.take(task)
            tasks.append(task)
        return tasks

    def _batch(self, limit: int, wall: int) -> list[ReadyTask]:
        tasks: list[ReadyTask] = []
        work = 0.0
        size = 0
        most = min(limit, MAX_BATCH)
        while len(tasks) < most and (task := self._window.peek()) is not None:
            work += self._run_times.expected(task, wall)
            size += len(task.context)
            if tasks and (work > BATCH_MICROSECONDS or size > BATCH_BYTES):
                break
            self._window.take(task)
            tasks.append(task)
        return tasks


def rows_of(launches: list[Launch], arrived: dict[str, Insert], wall: int) -> tuple[list[Insert], list[TaskUpdate]]:
    """Say what the store must know of the tasks: the new ones (`arrived`) and those that change by being handed out.

    A task alone is stored as executing. In a batch a new task is stored as claimed, an older one stays as it is: the
    hand-out's row names it.
    """
    inserts = dict(arrived)
    updates = []
    for launch in launches:
        alone = launch.alone
        for flight in launch.flights:
            insert = arrived.get(flight.task.id)
            if insert is not None:
                if alone:
                    flight.state, flight.attempt = _EXECUTING, 1
                    row = Insert(insert.task, _EXECUTING, insert.lane, insert.rank, 1, wall)
                else:
                    flight.state = CLAIMED
                    row = tuple.__new__(Insert, (insert.task, CLAIMED, insert.lane, insert.rank, 0, None))
                inserts[flight.task.id] = row
            elif alone:
                update = begin(flight.task, wall)
                updates.append(update)
                flight.state, flight.attempt = update.state, update.attempt
    return list(inserts.values()), updates


def put_tokens(launch: Launch) -> Run:
    """Let the worker begin: offer its tokens and return the message that brings the tasks. Only after the commit."""
    slot, flights = launch.slot, launch.flights
    assert slot.batch is not None
    if len(slot.batch.flights) == len(flights):
        slot.journal.begin_anew()
    if isinstance(slot.tokens, Tokens):
        slot.tokens.put(bytes(launch.keys))
    else:
        slot.tokens.put(launch.keys)
    return Run(launch.number, tuple([_to_run(flight) for flight in flights]))


def _to_run(flight: Flight) -> RunTask:
    id_, type_, context, _, _, _, _, _, _, max_retries, _, timeout_ms, _, _ = flight.task
    attempt = flight.attempt if flight.state == _EXECUTING else flight.attempt + 1
    # Made for each task: by the named tuple's own constructor it would take twice as long.
    return tuple.__new__(RunTask, (id_, type_, context, attempt, max_retries, timeout_ms))
