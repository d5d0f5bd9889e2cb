"""Handing out: which tasks go to which worker in one batch, what the store must know of it, and how to undo it."""

import math
from dataclasses import dataclass

from callboard.actors.crew import Crew, Flight, Slot, SlotState
from callboard.actors.hand_out import MAX_BATCH
from callboard.actors.lifecycle import begin
from callboard.actors.messages import Run, RunTask
from callboard.actors.run_times import BATCH_BYTES, BATCH_MICROSECONDS, RunTimes
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

    @property
    def flights(self) -> dict[int, Flight]:
        """The tasks in flight, by index."""
        assert self.slot.batch is not None
        return self.slot.batch.flights

    def row(self) -> HandOut:
        """Return the batch as the store keeps it."""
        assert self.slot.batch is not None
        return self.slot.batch.row(self.slot.name)


class Launcher:
    """Chooses batches from the window. last_number: of the last hand-out ever made of this queue."""

    def __init__(self, crew: Crew, window: Window, run_times: RunTimes, last_number: int) -> None:
        self._crew = crew
        self._window = window
        self._run_times = run_times
        self._last_number = last_number

    def free(self, concurrency: int) -> int:
        """Return how many workers may be given a batch now."""
        return min(len(self._crew.idle()), concurrency - self._crew.running())

    def choose(self, free: int, wall: int, mono: float) -> list[Launch]:
        """Choose batches for at most so many idle workers: about 20 ms of work each, shared out evenly.

        What one worker has done before a second has got its message goes to one.
        """
        launches: list[Launch] = []
        for slot in self._crew.idle()[: max(free, 0)]:
            head = self._window.peek()
            if head is None:
                break
            waiting = len(self._window)
            worth = math.ceil(waiting * self._run_times.mean(head) / WORTH_A_MESSAGE_MICROSECONDS)
            tasks = self._batch(math.ceil(waiting / max(min(free - len(launches), worth), 1)), wall)
            self._last_number += 1
            launches.append(Launch(slot, self._last_number, tasks))
            self._crew.launch(slot, self._last_number, tasks, mono)
        return launches

    def undo(self, launches: list[Launch]) -> None:
        """Put everything back as it was before `choose`."""
        for launch in launches:
            for index in range(len(launch.tasks)):
                self._crew.land(launch.slot, index)
            launch.slot.batch, launch.slot.state = None, SlotState.IDLE
            for task in launch.tasks:
                self._window.push(task)

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
        alone = len(launch.tasks) == 1
        for flight in launch.flights.values():
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
    launch.slot.journal.begin_anew()
    launch.slot.tokens.put(bytes(range(len(launch.tasks))))
    return Run(launch.number, tuple([_to_run(flight) for flight in launch.flights.values()]))


def _to_run(flight: Flight) -> RunTask:
    id_, type_, context, _, _, _, _, _, _, max_retries, _, timeout_ms, _, _ = flight.task
    attempt = flight.attempt if flight.state == _EXECUTING else flight.attempt + 1
    # Made for each task: by the named tuple's own constructor it would take twice as long.
    return tuple.__new__(RunTask, (id_, type_, context, attempt, max_retries, timeout_ms))
