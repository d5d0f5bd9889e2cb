"""A watched stage whose workers run several tasks at once."""

from collections.abc import Iterable
from typing import Any

from callboard.actors.crew import Doom
from callboard.actors.messages import Run, StartWorker, StopTask
from callboard.actors.shared_batch import STOP_SECONDS
from callboard.actors.suspicion import ALONE
from callboard.conf.settings import QueueSettings
from tests.support.played_slots import PlayedSlots
from tests.support.stages import SIGKILLED, Stage
from tests.support.watched_stage import EVERYTHING, UNRESPONSIVE_SECONDS, WatchedStage


class SharedStage(WatchedStage):
    """Checks that what is suspected runs alone, and that nobody is killed for another one's sake."""

    settings = QueueSettings(worker="tests:work", concurrency=5, slots=3)

    def play(self, start: StartWorker) -> PlayedSlots:
        return PlayedSlots(start)

    def step(self, worker: Any, *, well: bool = True, discard: bool = False, told: bool = False) -> None:
        """Let a worker do the next thing that it has to do; `told`: it can't stop what it is asked to stop."""
        if worker.bell is not None:
            self.ring(worker)
        elif worker.held:
            for task in worker.begin(self.wall):
                self.model.begun(task.id, task.attempt, self._latest)
            self._check_alone(worker)
        elif worker.inbox and isinstance(worker.inbox[0], Run):
            worker.take()
        elif worker.inbox:
            if (stopped := worker.stop(self.wall, can=not told)) is not None:
                task, timed_out = stopped
                if timed_out:
                    self.model.failed(task.id, self.wall)
                else:
                    self.model.stopped(task.id)
        elif worker.running:
            key = (min if well else max)(worker.running)
            task_id = worker.running[key].id
            if well:
                worker.complete(key, self.wall)
                self.model.completed(task_id)
            else:
                worker.fail(key, self.wall, discard=discard)
                self.model.failed(task_id, self.wall, discard=discard)

    def lose(self, worker: Any, exitcode: int | None = SIGKILLED) -> None:
        slot = self.slot(worker)
        for key, task in worker.held.items():
            if slot.fates.get(key) is Doom.CANCEL:
                self.model.cancelled(task.id)
        for key, task in worker.running.items():
            fate = slot.fates.get(key)
            if fate is Doom.CANCEL:
                self.model.cancelled(task.id)
            elif fate is Doom.TIMEOUT:
                self.model.killed(task.id, self.wall, crashed=False)
            elif slot.doom is not None:
                self.model.interrupted(task.id, self.wall)
            elif len(worker.running) == 1:
                self.model.killed(task.id, self.wall, crashed=True)
            else:
                self.model.suspected(task.id)
        Stage.lose(self, worker, exitcode)

    def _running_in(self, worker: Any) -> list[str]:
        return [task.id for task in worker.running.values()]

    def _check_alone(self, worker: Any) -> None:
        standings = [self.model.tasks[task.id].standing for task in worker.running.values()]
        assert not any(standings) or len(standings) == 1, "a suspect has neighbours"
        assert len(standings) <= self.slot(worker).capacity

    def _check_order(self, numbers: set[int]) -> None:
        """What was handed out comes before all that could have been, and no more runs than may."""
        crew = self.owner.crew
        sent = [run for run in self.sent if run.number in numbers]
        ids = {task.id for run in sent for task in run.tasks}
        flights = [flight.task for slot in crew.busy() if slot.batch for flight in slot.batch.flights.values()]
        taken = _places(task for task in flights if task.id in ids)
        waiting = self.owned.whole.ready(None, EVERYTHING, EVERYTHING)
        left = _places(task for task in waiting if task.id not in crew.places)
        assert not left or not taken or max(taken) < min(left)
        assert crew.running() <= self.owner.settings.concurrency
        at_once = sum(len(worker.held) + len(worker.running) for worker in self.workers.values())
        assert at_once <= self.owner.settings.concurrency

    def _check_kill(self, name: str) -> None:
        """Only one of which nothing can be expected any more is killed."""
        worker, slot = self.workers[name], self.owner.crew.slots[name]
        assert slot.doom is Doom.INTERRUPT
        if self.owner.stopping:
            return
        assert set(worker.running) <= set(slot.fates), "a neighbour is killed"
        assert slot.retiring
        if slot.batch is None:
            return
        patience = 0.0 if slot.spent else STOP_SECONDS
        assert all(self.since(slot.batch.asked[key]) >= patience for key in worker.running)  # type: ignore[attr-defined]
        if not worker.running:
            assert slot.spent or self.since(slot.batch.last_sign) >= UNRESPONSIVE_SECONDS

    def perform(self) -> None:
        """Look at every wish to stop a task, too."""
        for action in self.owner.outbox:
            message = getattr(action, "message", None)
            if isinstance(message, StopTask) and message.timed_out:
                self._check_overdue(message)
        super().perform()

    def _check_overdue(self, message: StopTask) -> None:
        run = next(run for run in self.sent if run.number == message.number)
        task = run.tasks[message.index]
        assert self.model.tasks[task.id].phase in {"running", "completed", "waiting", "dead", "cancelled"}
        slot, _, flight = self.owner.crew.flight(task.id) or (None, 0, None)
        assert slot is not None
        assert flight is not None
        assert flight.begun is not None
        assert self.since(flight.begun) >= task.timeout_ms / 1_000


def _places(tasks: Iterable[Any]) -> list[tuple[int, int]]:
    return [(task.lane, task.rank) for task in tasks if task.interruptions < ALONE]
