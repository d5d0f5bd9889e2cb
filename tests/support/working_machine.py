"""The part of the owner's state machine that plays those around it: who submits, and the workers."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from callboard.actors.options import Backoff
from callboard.actors.store import Store
from callboard.actors.task import NewTask
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import backoff_text, new_task
from tests.support.owner_model import OwnerModel
from tests.support.watched_stage import WatchedStage

BACKOFF = Backoff(base_ms=200)
NEW_TASKS = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([0, 0, 0, 5, -1]),
        "max_retries": st.integers(0, 2),
        "timeout_ms": st.sampled_from([300, 60_000, 60_000]),
        "type": st.sampled_from(["a", "b"]),
    }
)
DELAYS = st.sampled_from([0, 0, 0, 100_000, 3_000_000])
POINTS = ["taken", "running", "ended", "ended and taken", "between"]


class WorkingMachine(RuleBasedStateMachine):
    """What submitters and workers do. store: where, None for a memory store of its own."""

    store: Store | None = None
    queues = 0

    @initialize()
    def open(self) -> None:
        type(self).queues += 1
        self.made = 0
        self.model = OwnerModel(BACKOFF)
        folder = Path(tempfile.mkdtemp(prefix="callboard-machine-"))
        self.stage = self.open_stage(folder)
        self.stage.staff()

    def open_stage(self, folder: Path) -> WatchedStage:
        return WatchedStage(folder, self.model, self.store, f"q{self.queues}")

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.close()

    # ------------------------------------------------------------ tasks

    @rule(values=st.lists(NEW_TASKS, min_size=1, max_size=18), delay=DELAYS)
    def submit(self, values: list[dict[str, Any]], delay: int) -> None:
        run_at = delay and self.stage.wall + delay
        self.stage.arrive([self._new(run_at=run_at, **each) for each in values])

    @rule(count=st.integers(8, 20))
    def submit_urgent_ones(self, count: int) -> None:
        """More than the window holds: what is less urgent is left to the store again."""
        self.stage.arrive([self._new(priority=9) for _ in range(count)])

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), resent=st.booleans())
    def submit_again(self, data: st.DataObject, resent: bool) -> None:
        known = data.draw(st.sampled_from(list(self.model.tasks.values())))
        self.stage.arrive([known.new, self._new()], resent=resent)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.stage.cancel(self._some(data))

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), keep_attempts=st.booleans())
    def retry(self, data: st.DataObject, keep_attempts: bool) -> None:
        self.stage.retry(self._some(data), keep_attempts=keep_attempts)

    def _new(self, **values: object) -> NewTask:
        self.made += 1
        # Ids that are the same each time: an example that has failed must fail again.
        return new_task(f"{self.stage.queue}-{self.made:06}", backoff=backoff_text(BACKOFF), **values)

    def _some(self, data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(list(self.model.tasks)), min_size=1, max_size=4))

    # ------------------------------------------------------------ workers

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), steps=st.integers(1, 9), well=st.booleans(), discard=st.booleans(), told=st.booleans())
    def work(self, data: st.DataObject, steps: int, well: bool, discard: bool, told: bool) -> None:
        worker = self._worker(data)
        for _ in range(steps):
            self.stage.step(worker, well=well, discard=discard, told=told)

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), point=st.sampled_from(POINTS), seconds=st.sampled_from([0.0, 0.02, 0.15, 0.5]))
    def stay(self, data: st.DataObject, point: str, seconds: float) -> None:
        """Bring a worker to a certain point, and let time pass there."""
        self._bring(self._worker(data), point)
        self.stage.wait(seconds)
        self.stage.turn()

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), point=st.sampled_from(POINTS), exitcode=st.sampled_from([-9, -11, 1, None]))
    def die(self, data: st.DataObject, point: str, exitcode: int | None) -> None:
        worker = self._worker(data)
        self._bring(worker, point)
        self.stage.lose(worker, exitcode)

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), point=st.sampled_from(POINTS), well=st.booleans(), steps=st.integers(0, 3), dies=st.booleans())
    def cancel_what_a_worker_has(self, data: st.DataObject, point: str, well: bool, steps: int, dies: bool) -> None:
        """The kill may come while it is between two tasks, and it may go on for a while."""
        worker = self._worker(data)
        self._bring(worker, point, well=well)
        held = sorted(worker.has())
        self.stage.cancel(data.draw(st.lists(st.sampled_from(held), min_size=1, unique=True)) if held else [])
        for _ in range(steps):
            self.stage.step(worker, well=well)
        if dies:
            self.stage.lose(worker)
            self.stage.turn()

    @precondition(lambda self: self._busy())
    @rule(data=st.data(), point=st.sampled_from(POINTS), breakage=st.sampled_from(Breakage), restart=st.booleans())
    def die_while_the_store_is_broken(self, data: st.DataObject, point: str, breakage: Breakage, restart: bool) -> None:
        worker = self._worker(data)
        self._bring(worker, point)
        self.stage.owned.breakage = breakage
        self.stage.lose(worker)
        self.stage.hire()
        self.stage.turn()
        if restart:
            self.stage.restart()
        self.stage.owned.breakage = Breakage.NONE
        self.stage.staff()

    def _bring(self, worker: Any, point: str, *, well: bool = True) -> None:
        for _ in range(5):
            if point == worker.point or worker.run is None:
                return
            self.stage.step(worker, well=well)

    def _worker(self, data: st.DataObject) -> Any:
        return self.stage.workers[data.draw(st.sampled_from(self._busy()))]

    def _busy(self) -> list[str]:
        return sorted(worker.name for worker in self.stage.workers.values() if worker.run is not None)

    def _reap(self) -> None:
        """Let those die that were killed."""
        for name in self.stage.killed:
            if name in self.stage.workers:
                self.stage.lose(self.stage.workers[name])
        self.stage.killed.clear()
