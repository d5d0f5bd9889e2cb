"""Handing out: which tasks go to which worker in one batch, what the store must know of it, and how to undo it."""

from dataclasses import dataclass

from callboard.actors.crew import Crew, Flight, Slot, SlotState
from callboard.actors.hand_out import MAX_BATCH
from callboard.actors.lifecycle import begin
from callboard.actors.messages import Run, RunTask
from callboard.actors.run_times import BATCH_BYTES, BATCH_MICROSECONDS, RunTimes
from callboard.actors.store import HandOut, Insert, ReadyTask, TaskUpdate
from callboard.actors.task import CLAIMED, TaskState
from callboard.actors.window import Window


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
        """Choose batches for so many idle workers: about 20 ms of work each, shared out evenly."""
        launches: list[Launch] = []
        for slot in self._crew.idle()[: max(free, 0)]:
            share = -(-len(self._window) // (free - len(launches)))
            tasks = self._batch(min(share, MAX_BATCH), wall)
            if not tasks:
                break
            self._last_number += 1
            launches.append(Launch(slot, self._last_number, tasks))
            self._crew.launch(slot, self._last_number, tasks, mono)
        return launches

    def stored(self, launches: list[Launch], inserts: dict[str, Insert], wall: int) -> list[TaskUpdate]:
        """Say what the store must know of the tasks; those that are only being inserted are changed in `inserts`.

        A task alone is stored as executing. In a batch a new task is stored as claimed, an older one stays as it is: the
        hand-out's row names it.
        """
        updates = []
        for launch in launches:
            alone = len(launch.tasks) == 1
            for flight in launch.flights.values():
                task = flight.task
                insert = inserts.get(task.id)
                if insert is not None and alone:
                    inserts[task.id] = insert._replace(state=TaskState.EXECUTING, attempt=1, started_at=wall)
                    flight.task = task._replace(state=TaskState.EXECUTING, attempt=1)
                elif insert is not None:
                    inserts[task.id] = Insert(insert.task, CLAIMED, insert.lane, insert.rank)
                    flight.task = task._replace(state=CLAIMED)
                elif alone:
                    update = begin(task, wall)
                    updates.append(update)
                    flight.task = task._replace(state=update.state, attempt=update.attempt)
        return updates

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
        while len(tasks) < limit and (task := self._window.peek()) is not None:
            work += self._run_times.expected(task, wall)
            size += len(task.context)
            if tasks and (work > BATCH_MICROSECONDS or size > BATCH_BYTES):
                break
            self._window.pop()
            tasks.append(task)
        return tasks


def put_tokens(launch: Launch) -> Run:
    """Let the worker begin: offer its tokens and return the message that brings the tasks. Only after the commit."""
    launch.slot.journal.begin_anew()
    launch.slot.tokens.put(bytes(range(len(launch.tasks))))
    return Run(launch.number, tuple(_to_run(flight.task) for flight in launch.flights.values()))


def _to_run(task: ReadyTask) -> RunTask:
    attempt = task.attempt if task.state == TaskState.EXECUTING else task.attempt + 1
    return RunTask(task.id, task.type, task.context, attempt, task.max_retries, task.timeout_ms)
