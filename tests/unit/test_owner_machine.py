"""An owner that is driven through anything that can happen to it; a model that was told the truth checks what it stores."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from callboard.actors.errors import StoreUnavailable, Superseded
from callboard.actors.messages import QueueStopped, StopQueue
from callboard.actors.store.opening import open_store
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import WALL
from tests.support.working_machine import POINTS, WorkingMachine

ROUNDS = 300
"""So often at most the owner is woken up until it must be done."""


class OwnerMachine(WorkingMachine):
    """Rules are what the world does; the owner's turns are rules of their own, as wakeups come when they come."""

    # ------------------------------------------------------------ time and the owner

    @rule(seconds=st.sampled_from([0.0, 0.15, 1.1, 10.5]), jump=st.sampled_from([0, 0, 0, -5, 5]), reap=st.booleans())
    def wake_up(self, seconds: float, jump: int, reap: bool) -> None:
        """Let time pass, and perhaps somebody set the clock, until the owner looks again."""
        stage = self.stage
        stage.wait(seconds)
        stage.wall += jump * 1_000_000
        if reap:
            self._reap()
        stage.hire()
        stage.turn()

    @rule(breakage=st.sampled_from([Breakage.NONE, *Breakage]))
    def break_or_mend_the_store(self, breakage: Breakage) -> None:
        self.stage.owned.breakage = breakage

    @rule(paused=st.sampled_from([False, False, True]), concurrency=st.integers(1, 4))
    def order(self, paused: bool, concurrency: int) -> None:
        owner = self.stage.owner
        try:
            owner.set_paused(self.stage.now, paused=paused)
            owner.scale(concurrency)
        except StoreUnavailable:
            assert self.stage.owned.breakage is not Breakage.NONE
        self.stage.hire()
        self.stage.turn()

    @precondition(lambda self: self._busy())
    @rule(point=st.sampled_from(POINTS), times=st.sampled_from([1, 1, 3, 12]))
    def replace_the_owner(self, point: str, times: int) -> None:
        """Put a new owner in its place; the old one, should it wake up again, changes nothing."""
        old = self.stage.owner
        for _ in range(times):
            for name in self._busy():
                self._bring(self.stage.workers[name], point)
            self.stage.restart()
            self.stage.staff()
        before = self._stored()
        try:
            with old.store.transaction():
                raise AssertionError("two owners")
        except (Superseded, StoreUnavailable):
            pass
        assert self._stored() == before

    @precondition(lambda self: self._busy())
    @rule(grace=st.sampled_from([0.0, 1.0]), steps=st.integers(0, 6))
    def stop_and_start_again(self, grace: float, steps: int) -> None:
        stage = self.stage
        stage.owned.breakage = Breakage.NONE
        stage.stopping.begin(StopQueue("stop", stage.queue, grace), "registry", stage.now)
        for worker in list(stage.workers.values()):
            for _ in range(steps):
                stage.step(worker)
        for _ in range(ROUNDS):
            if stage.answers and isinstance(stage.answers[-1], QueueStopped):
                break
            self._reap()
            stage.wait_for_next_look()
        else:
            raise AssertionError("it never stopped")
        stage.answers.clear()
        assert stage.owner.store.hand_outs() == []
        assert not stage.owner.outcomes.facts.change
        stage.restart()
        stage.staff()

    @rule()
    def let_everything_run(self) -> None:
        """With nothing in the way, every task that was accepted ends, and nobody has to be woken up for it."""
        stage = self.stage
        stage.owned.breakage = Breakage.NONE
        stage.wait(5)
        stage.owner.set_paused(stage.now, paused=False)
        for _ in range(ROUNDS):
            if all(known.has_ended for known in self.model.tasks.values()):
                break
            self._reap()
            while stage.hire():
                pass
            for worker in list(stage.workers.values()):
                while worker.run is not None or worker.bell is not None:
                    stage.step(worker)
            stage.wait_for_next_look()
        else:
            raise AssertionError("some tasks never end")
        self._reap()
        stage.wait(5)
        stage.turn()
        self.what_is_stored_is_what_happened()
        assert stage.owner.next_look(stage.now) > stage.mono
        assert stage.commands._waiting == []

    # ------------------------------------------------------------ what must be

    @rule()
    def what_is_stored_is_what_happened(self) -> None:
        """Whatever the store says after a turn that could store is what the model knows."""
        stage = self.stage
        stage.turn()
        if stage.owner.trouble or stage.owner.outcomes.facts.change:
            return
        shown = {task.id: task for task in stage.store.get_many(list(self.model.tasks))}
        stored = {task.id: task for task in self._stored()}
        assert stored.keys() == shown.keys() == self.model.tasks.keys(), "a task is lost"
        for task_id, task in stored.items():
            self.model.check(task, shown[task_id])
        counts = Counter(task.state for task in shown.values())
        assert {state: number for state, number in stage.owned.whole.counts().items() if number} == counts

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        """When nothing waits to be stored: what is ready is in the window, with a worker, or behind the edge."""
        if not hasattr(self, "stage") or self.stage.owner.outcomes.facts.change:
            return
        owner = self.stage.owner
        edge, places = owner.window.edge, owner.crew.places
        stored = {task.id: task for task in self._stored()}
        for task in stored.values():
            behind = edge is not None and (task.lane, task.rank) > edge
            waits = task.state == "available" and task.id not in places
            assert (task.id in owner.window) + (waits and behind) == waits, f"{task} is lost or in two places"
            assert task.state not in {"claimed", "executing"} or task.id in places, f"nobody has {task}"
        assert {flight.task.id for slot in owner.crew.busy() if slot.batch for flight in slot.batch.flights.values()} == set(
            places
        )

    def _stored(self) -> list[Any]:
        return self.stage.owned.whole.load(list(self.model.tasks))


def run(machine: type[OwnerMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.timeout(600)  # it takes seconds; but making a failure small takes minutes
def test_whatever_happens_no_task_is_lost_run_twice_or_charged_wrongly() -> None:
    run(OwnerMachine, examples=100, steps=50)


@pytest.mark.timeout(600)
def test_nor_on_a_real_file(tmp_path: Path) -> None:
    class OnFile(OwnerMachine):
        store = open_store(f"sqlite:///{tmp_path}/callboard.db", clock=lambda: WALL)

    try:
        run(OnFile, examples=20, steps=30)
    finally:
        assert OnFile.store is not None
        OnFile.store.close()
