"""One queue's owner with all that the Queue actor gives it, but for the actors: clocks, store, files and played workers."""

import random
import shutil
from pathlib import Path
from typing import Any

from callboard.actors.commands import Commands
from callboard.actors.crew import Moment, Slot
from callboard.actors.event import Row
from callboard.actors.foreman import Kill
from callboard.actors.hiring import Hiring
from callboard.actors.launching import Launcher
from callboard.actors.messages import Run, StartQueue, StartWorker, StopTask, Submission, Verdict
from callboard.actors.outcomes import Outcomes
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.stopping import Stopping
from callboard.actors.store import QueueStore, Store
from callboard.actors.store.memory import MemoryStore
from callboard.actors.task import NewTask, Task
from callboard.actors.window import Window
from callboard.actors.worker_files import QueueFolder
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import BreakableStore, Breakage
from tests.support.made_tasks import WALL, new_task
from tests.support.played_workers import PlayedWorker

SIGKILLED = -9


class Stage:
    """Does what `QueueActor` does, step by step. `restart` puts a new owner in the place of the last one.

    window: how many tasks the owner's window holds, None for its usual size. sent, killed: what the owner wanted
    done. watched: somebody wants to be told of events.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: Store | None = None,
        settings: QueueSettings | None = None,
        queue: str = "mail",
        window: int | None = None,
        watched: bool = False,
    ) -> None:
        self.watched = watched
        self.folder = folder
        self.queue = queue
        self.wall, self.mono = WALL, 1_000.0
        self.store: Store = store or MemoryStore(clock=lambda: self.wall)
        self._window = window
        self._boot_id = "boot"
        settings = settings or QueueSettings(worker="tests:work", concurrency=2)
        self.store.put_queue(queue, settings.model_dump_json(), "", self.wall)
        self.workers: dict[str, Any] = {}
        self.breakage_at_start = Breakage.NONE
        self._opened: list[QueueStore] = []
        self.own()

    @property
    def now(self) -> Moment:
        return Moment(self.wall, self.mono)

    def own(self) -> None:
        """Own the queue as a Queue actor does that starts; workers of an earlier owner must be dead."""
        owned, ownership = self.store.own(self.queue)
        self._opened.append(owned)
        self.owned = BreakableStore(owned)
        self.owned.breakage = self.breakage_at_start
        settings = QueueSettings.model_validate_json(ownership.settings)
        self.owner = QueueOwner(self.queue, self.owned, ownership, settings, rng=random.Random(0), now=self.now)
        if self._window is not None:
            self._narrow(self._window, ownership.last_hand_out)
        self.owner.outcomes.events.switch(on=self.watched)
        files = QueueFolder(self.folder / "queues" / self.queue, self._boot_id, self.owner.incarnation)
        self.owner.recover(files.left_behind(), self.now)
        files.clear()
        self.commands = Commands(self.owner)
        self.owner.on_stored = self.commands.stored
        start = StartQueue(self.queue, str(self.folder), "memory:", self._boot_id, {}, "info", "console")
        self.hiring = Hiring(self.owner, files, start)
        self.stopping = Stopping(self.owner)
        self.sent: list[Run] = []
        self.replies: list[tuple[Any, Any]] = []
        self.killed: list[str] = []

    def _narrow(self, limit: int, last_number: int) -> None:
        owner = self.owner
        owner.window = Window(limit)
        owner.outcomes = Outcomes(owner.queue, owner.crew, owner.window, owner.run_times, random.Random(0))
        owner.settings = owner.settings  # it tells the outcomes how the queue delivers
        owner._launcher = Launcher(owner.crew, owner.window, owner.run_times, last_number)

    def restart(self, *, power_cut: bool = False) -> None:
        """Let the owner die with its workers, and a new one take over; after a power cut the machine has a new boot id."""
        for worker in self.workers.values():
            worker.close()
        for slot in self.owner.crew.slots.values():
            slot.tokens.close()
            slot.journal.close()
        self.workers = {}
        if power_cut:
            self._boot_id += "+"
        self.own()

    def close(self) -> None:
        """Leave nothing behind."""
        for worker in self.workers.values():
            worker.close()
        for slot in self.owner.crew.slots.values():
            slot.tokens.close()
            slot.journal.close()
        for owned in self._opened:
            owned.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------ time

    def wait(self, seconds: float) -> None:
        self.wall += round(seconds * 1_000_000)
        self.mono += seconds

    def since(self, moment: float) -> float:
        """Return the seconds since a monotonic moment, without the last digits, which two ways to add up don't share."""
        return round(self.mono - moment, 6)

    def wait_for_next_look(self) -> None:
        """Let exactly so much time pass as the Queue actor would sleep, and wake it up."""
        moments = (self.owner.next_look(self.now), self.stopping.next_look, self.hiring.next_look(self.now))
        self.wait(max(min(moments) - self.mono, 0.0))
        self.turn()

    # ------------------------------------------------------------ workers

    def hire(self) -> list[Any]:
        """Start and bring up the workers that are missing."""
        came = []
        for name in self.hiring.due(self.now):
            if (start := self.fork(name)) is None:
                break
            worker = self.play(start)
            self.workers[name] = worker
            self.hiring.ready(name, name, self.now)
            came.append(worker)
        self.perform()
        return came

    def fork(self, name: str) -> StartWorker | None:
        """Start a worker that is not ready yet; None if its files can't be made."""
        ends = self.hiring.prepare(name, self.now)
        return None if ends is None else self.hiring.hire(name, 4711, ends)

    def play(self, start: StartWorker) -> Any:
        """Return what plays a worker."""
        return PlayedWorker(start)

    def staff(self) -> None:
        """Bring up workers until none is missing, and give them work."""
        while self.hire():
            pass
        self.turn()

    @property
    def worker(self) -> Any:
        """The only worker."""
        (worker,) = self.workers.values()
        return worker

    def slot(self, worker: PlayedWorker) -> Slot:
        return self.owner.crew.slots[worker.name]

    def ring(self, worker: PlayedWorker) -> None:
        """Deliver a worker's bell."""
        assert worker.bell is not None
        report, worker.bell = worker.bell, None
        self.owner.reported(report.worker, report.number, self.now, spent=report.spent)
        self.turn()

    def do_all(self, worker: PlayedWorker) -> None:
        """Let a worker do its whole batch and tell its owner."""
        worker.do_all(self.wall)
        self.ring(worker)

    def begin(self, *tasks: NewTask) -> Any:
        """Submit tasks and let the only worker begin the first."""
        self.submit(*tasks)
        self.worker.take()
        self.worker.begin(self.wall)
        return self.worker

    def let_die(self, count: int = 1) -> list[NewTask]:
        """Submit tasks and let them fail for good, by the only worker."""
        tasks = [new_task(max_retries=0) for _ in range(count)]
        self.submit(*tasks)
        while self.worker.run:
            while self.worker.take():
                self.worker.begin(self.wall)
                self.worker.fail(self.wall)
            self.ring(self.worker)
        return tasks

    def lose(self, worker: PlayedWorker, exitcode: int | None = SIGKILLED) -> None:
        """Let a worker die, and tell its owner; its next turn is the test's."""
        worker.close()
        del self.workers[worker.name]
        self.hiring.gone(worker.name, exitcode, self.now)

    # ------------------------------------------------------------ the owner

    def submit(self, *tasks: NewTask, key: str = "", fingerprint: str = "", resent: bool = False) -> Verdict:
        verdicts = self.owner.submit((Submission(tasks, key, fingerprint, resent),), self.now)
        self.perform()
        return verdicts[0]

    def turn(self) -> None:
        self.owner.turn(self.now)
        self.perform()

    def perform(self) -> None:
        """Do what the owner has decided; a killed worker is dead only when the test says so (`lose`)."""
        self.stopping.turn(self.now)
        outbox, self.owner.outbox = self.owner.outbox, []
        for action in outbox:
            if isinstance(action, Kill):
                self.killed.append(action.worker)
            elif isinstance(action.message, Run | StopTask):
                if isinstance(action.message, Run):
                    self.sent.append(action.message)
                if (worker := self.workers.get(action.to)) is not None:
                    worker.get(action.message)
            else:
                self.replies.append((action.to, action.message))

    # ------------------------------------------------------------ what is told

    def told(self) -> list[Row]:
        """Return the events that may be told by now, and forget them."""
        events = self.owner.outcomes.events
        if not self.owner.outcomes.facts.change:
            events.stored(self.wall)
        return events.take(1_000_000)

    # ------------------------------------------------------------ what is stored

    def task(self, task_id: str) -> Task:
        found = self.store.get(task_id)
        assert found is not None, f"task {task_id} is not in the store"
        return found

    def states(self, *tasks: NewTask) -> list[str]:
        return [str(self.task(task.id).state) for task in tasks]
