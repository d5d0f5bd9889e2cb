"""A stage that looks at everything its owner decides, with a model that is told what really happens."""

from pathlib import Path
from typing import Any

from callboard.actors.crew import Doom
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import TasksChanged
from callboard.actors.store import Store
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.owner_model import ENDED, OwnerModel
from tests.support.played_workers import PlayedWorker
from tests.support.stages import SIGKILLED, Stage

EVERYTHING = 100_000
SMALL_WINDOW = 8
UNRESPONSIVE_SECONDS = 10


class WatchedStage(Stage):
    """Checks every hand-out at the moment of its commit, and every kill and answer when it is given."""

    settings = QueueSettings(worker="tests:work", concurrency=2)

    def __init__(self, folder: Path, model: OwnerModel, store: Store | None, queue: str) -> None:
        self.model = model
        self.answers: list[Any] = []
        self._looked_at = 0
        self._latest = 0
        """The latest time that the owner has seen: somebody may set the clock back."""
        self._retried: set[str] = set()
        self._ends: dict[str, tuple[str, bool, bool, int]] = {}
        """By worker: the end of its task that it has not written yet (task, well, discard, at)."""
        super().__init__(folder, store=store, settings=self.settings, queue=queue, window=SMALL_WINDOW)

    # ------------------------------------------------------------ what happens

    def arrive(self, tasks: list[NewTask], *, resent: bool = False) -> None:
        """Submit tasks. The model has to know them before: they may be handed out at once."""
        before = dict(self.model.tasks)
        for task in tasks:
            self.model.accepted(task, self.wall)
        try:
            assert self.submit(*tasks, resent=resent).outcome == "accepted"
        except StoreUnavailable:
            assert self.owned.breakage is not Breakage.NONE
            self.model.tasks = before

    def step(self, worker: PlayedWorker, *, well: bool = True, discard: bool = False, told: bool = False) -> None:
        """Let a worker do the next thing that it has to do."""
        if worker.bell is not None:
            self.ring(worker)
        elif worker.run is None:
            return
        elif worker.held is not None:
            task = worker.task(worker.held)
            self._told(worker)
            worker.begin(self.wall)
            self.model.begun(task.id, task.attempt, self._latest)
        elif worker.running is not None and not worker.unwritten:
            self._ends[worker.name] = (worker.task(worker.running).id, well, discard, self.wall)
            if well:
                worker.complete(self.wall, told=told)
            else:
                worker.fail(self.wall, discard=discard, told=told)
            if told:
                self._told(worker)
        elif not worker.take():
            self._told(worker)

    def _told(self, worker: PlayedWorker) -> None:
        """Note that the journal has an end now: from here on it survives everything but a power cut."""
        if (end := self._ends.pop(worker.name, None)) is None:
            return
        task_id, well, discard, at = end
        if well:
            self.model.completed(task_id)
        else:
            self.model.failed(task_id, at, discard=discard)

    def lose(self, worker: PlayedWorker, exitcode: int | None = SIGKILLED) -> None:
        """Let a worker die wherever it is."""
        slot = self.slot(worker)
        self._ends.pop(worker.name, None)
        for token in (worker.held, worker.running):
            if token is None:
                continue
            task_id = worker.task(token).id
            if self.model.tasks[task_id].unwanted:
                self.model.cancelled(task_id)
            elif token == worker.held:
                continue
            elif slot.doom is None or slot.fates.get(token) is Doom.TIMEOUT:
                self.model.killed(task_id, self.wall, crashed=slot.doom is None)
            else:
                self.model.interrupted(task_id, self.wall)
        super().lose(worker, exitcode)

    def cancel(self, ids: list[str]) -> None:
        """Ask for a cancellation; what a worker has is killed for it later."""
        held = {task_id for worker in self.workers.values() for task_id in worker.has()}
        try:
            self.commands.cancel("cancel", tuple(ids), "somebody", self.now)
        except StoreUnavailable:
            assert self.owned.breakage is not Breakage.NONE
            return
        for task_id in dict.fromkeys(ids):
            known = self.model.tasks[task_id]
            if task_id in held:
                known.unwanted = True
            elif not known.has_ended:
                self.model.cancelled(task_id)
        self.turn()

    def retry(self, ids: list[str], *, keep_attempts: bool) -> None:
        """Retry by hand what has ended and is stored so."""
        ended = {task.id for task in self.owned.whole.load(ids) if task.state in ENDED}
        try:
            changed = self.commands.retry("retry", tuple(ids), self.now, keep_attempts=keep_attempts).changed
        except StoreUnavailable:
            assert self.owned.breakage is not Breakage.NONE
            return
        assert set(changed) == ended
        self._retried.update(changed)
        for task_id in changed:
            self.model.retried(task_id, keep_attempts=keep_attempts)
        self.turn()

    def restart(self, *, power_cut: bool = False) -> None:
        for worker in self.workers.values():
            for task_id in self._running_in(worker):
                # Whatever the old owner has killed it for: nobody knows any more.
                self.model.tasks[task_id].unwanted = False
                self.model.interrupted(task_id, self.wall)
        self.model.owner_died(self.wall)
        self._ends = {}
        super().restart(power_cut=power_cut)

    def _running_in(self, worker: Any) -> list[str]:
        return [] if worker.running is None else [worker.task(worker.running).id]

    def own(self) -> None:
        self._looked_at = 0
        super().own()

    # ------------------------------------------------------------ what the owner decides

    def perform(self) -> None:
        self._latest = max(self._latest, self.wall)
        kills = len(self.killed)
        super().perform()
        new = self.sent[self._looked_at :]
        self._looked_at = len(self.sent)
        if new:
            self.model.handed_out([task.id for run in new for task in run.tasks])
            self._check_order({run.number for run in new})
        for name in self.killed[kills:]:
            self._check_kill(name)
        for _, message in self.replies:
            self.answers.append(message)
            if isinstance(message, TasksChanged):
                # The answer waits for the last of them; one that was gone before may have been retried meanwhile.
                changed = set(message.changed) - self._retried
                assert all(self.model.tasks[task_id].phase == "cancelled" for task_id in changed)
                assert set(message.unchanged.values()) <= set(ENDED)
        self.replies.clear()
        if not self.owner.outcomes.facts.change:
            self.model.stored()

    def _check_order(self, numbers: set[int]) -> None:
        """What was handed out comes before all that could have been, and no more runs than may."""
        batches = [slot.batch for slot in self.owner.crew.busy() if slot.batch and slot.batch.number in numbers]
        taken = [(flight.task.lane, flight.task.rank) for batch in batches for flight in batch.flights.values()]
        waiting = self.owned.whole.ready(None, EVERYTHING, EVERYTHING)
        left = [(task.lane, task.rank) for task in waiting if task.id not in self.owner.crew.places]
        assert not left or max(taken) < min(left)
        have = [worker for worker in self.workers.values() if worker.run is not None and worker.run.number in numbers]
        have += [worker for worker in self.workers.values() if worker.point != "between"]
        assert len(set(have)) <= self.owner.settings.concurrency

    def _check_kill(self, name: str) -> None:
        """Nobody is killed without a reason."""
        worker, slot = self.workers[name], self.owner.crew.slots[name]
        if slot.doom is Doom.INTERRUPT:
            silent_for = self.since(slot.batch.last_sign) if slot.batch else 0.0
            silent = worker.running is None and silent_for >= UNRESPONSIVE_SECONDS
            assert slot.retiring or self.owner.stopping or silent
            return
        assert slot.batch is not None
        for token, doom in slot.fates.items():
            if doom is Doom.TIMEOUT:
                ran_for = self.since(slot.batch.sent)
                assert token == worker.running
                assert ran_for >= self.model.tasks[worker.task(token).id].new.timeout_ms / 1_000
