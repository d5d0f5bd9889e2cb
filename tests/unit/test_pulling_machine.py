"""Consumers that do anything at any time, under an owner to which anything happens; a model knows who has what."""

import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import Word
from callboard.actors.task import ENDED_STATES
from callboard.conf.queue_settings import Delivery
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.consumers import Held, fetch, say
from tests.support.made_tasks import NO_BACKOFF, new_task
from tests.support.stages import Stage

ROUNDS = 200
MAX_RETRIES = 2


@dataclass
class Known:
    """What is true of a task. `phase`: waiting, held, or the state in which it has ended."""

    phase: str = "waiting"
    attempts: int = 0
    errors: list[str] = field(default_factory=list)
    held: Held | None = None
    ends: float = 0.0


class ConsumerMachine(RuleBasedStateMachine):
    """Leases end at odd moments, so that none ends exactly when somebody looks."""

    delivery = Delivery.AT_LEAST_ONCE

    @initialize(window=st.sampled_from([None, 4]))
    def begin(self, window: int | None) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stage = Stage(Path(self.folder.name), settings=QueueSettings(delivery=self.delivery), window=window)
        self.model: dict[str, Known] = {}
        self.claims: list[Held] = []
        self.now = 0.0
        self.made = 0

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.stage.close()
            self.folder.cleanup()

    def _expire(self) -> None:
        """Do what every turn of the owner begins with."""
        for known in self.model.values():
            if known.phase == "held" and known.ends <= self.now:
                lost = self.delivery is Delivery.AT_MOST_ONCE
                self._failed(known, "lost" if lost else "expired", discard=lost)

    def _failed(self, known: Known, kind: str, *, discard: bool) -> None:
        known.errors.append(kind)
        known.phase = "dead" if discard or len(known.errors) > MAX_RETRIES else "waiting"

    @property
    def broken(self) -> bool:
        return self.stage.owned.breakage is not Breakage.NONE

    @rule(priorities=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def submit(self, priorities: list[int]) -> None:
        # What is due at the same moment comes in the order of the ids, so these must be the same in every replay.
        tasks = [
            new_task(f"t{number:05}", priority=priority, max_retries=MAX_RETRIES, backoff=NO_BACKOFF)
            for number, priority in enumerate(priorities, start=self.made)
        ]
        self.made += len(tasks)
        self._expire()
        try:
            self.stage.submit(*tasks)
        except StoreUnavailable:
            assert self.broken
            return
        self.model |= {task.id: Known() for task in tasks}

    @rule(most=st.integers(1, 5), lease=st.sampled_from([0.55, 0.55, 7.05]))
    def fetch(self, most: int, lease: float) -> None:
        self._expire()
        try:
            held = fetch(self.stage, most, round(lease * 1_000))
        except StoreUnavailable:
            assert self.broken
            return
        assert len(held) <= most
        assert not (held and self.stage.owner.paused)
        for one in held:
            known = self.model[one.task_id]
            assert known.phase == "waiting", f"{one} was given away though it is {known.phase}"
            known.phase, known.held, known.ends = "held", one, self.now + lease
            known.attempts += 1
        self.claims += held

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), words=st.lists(st.sampled_from(list(Word)), min_size=1, max_size=3))
    def say(self, data: st.DataObject, words: list[Word]) -> None:
        """Say something about any claim that was ever given, in one message."""
        claim = data.draw(st.sampled_from(self.claims))
        saying = {Word.ACK: claim.ack(), Word.FAIL: claim.fail(), Word.HEARTBEAT: claim.heartbeat(2_050)}
        self._expire()
        known = self.model[claim.task_id]
        acked = known.phase == "completed" and known.held == claim
        try:
            answers = say(self.stage, *(saying[word] for word in words))
        except StoreUnavailable:
            assert self.broken
            return
        good = known.phase == "held" and known.held == claim
        settled: Word | None = None
        for word, answer in zip(words, answers, strict=True):
            assert answer == ("done" if (good and settled in {None, word}) or (acked and word is Word.ACK) else "stale")
            if good and settled is None:
                settled = self._take(known, word)

    def _take(self, known: Known, word: Word) -> Word | None:
        if word is Word.HEARTBEAT:
            known.ends = self.now + 2.05
            return None
        if word is Word.ACK:
            known.phase = "completed"
        else:
            self._failed(known, "error", discard=False)
        return word

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.model)))
        try:
            self.stage.commands.cancel("r", (task_id,), "me", self.stage.now)
        except StoreUnavailable:
            assert self.broken
            return
        finally:
            self.stage.perform()
        known = self.model[task_id]
        if known.phase in {"waiting", "held"}:
            known.phase = "cancelled"

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        try:
            self.stage.owner.set_paused(self.stage.now, paused=paused)
        except StoreUnavailable:
            assert self.broken

    @rule(breakage=st.sampled_from([Breakage.NONE, Breakage.NONE, *Breakage]))
    def break_or_mend_the_store(self, breakage: Breakage) -> None:
        self.stage.owned.breakage = breakage

    @rule(power_cut=st.booleans())
    def replace_the_owner(self, power_cut: bool) -> None:
        # Its start ends with a turn, as a Queue actor's does: what the last owner saw expire, and could not store, expires
        # again before anybody can say a word.
        self.stage.restart(power_cut=power_cut)
        self._expire()
        self.stage.turn()

    @rule(tenths=st.sampled_from([1, 3, 6, 25, 80]))
    def wait(self, tenths: int) -> None:
        self.stage.wait(tenths / 10)
        self.now += tenths / 10
        self._expire()
        self.stage.turn()

    @rule()
    def what_is_stored_is_what_happened(self) -> None:
        self._expire()
        stage = self.stage
        stage.turn()
        if stage.owner.trouble or stage.owner.outcomes.facts.change:
            return
        shown = {task.id: task for task in stage.store.get_many(list(self.model))}
        assert shown.keys() == self.model.keys()
        for task_id, known in self.model.items():
            task = shown[task_id]
            states = {"waiting": {"available", "retryable"}, "held": {"executing"}}.get(known.phase, {known.phase})
            assert str(task.state) in states, known
            assert task.attempt == known.attempts, known
            assert [error["kind"] for error in task.errors] == known.errors, known
        held = {known.held.number for known in self.model.values() if known.phase == "held" and known.held}
        assert {row.number for row in stage.owned.whole.hand_outs()} == held
        assert len(stage.owner.leases) == len(held)

    @rule()
    def let_everything_end(self) -> None:
        """With nothing in the way, consumers that do their work end every task."""
        stage = self.stage
        stage.owned.breakage = Breakage.NONE
        self.wait(80)
        stage.owner.set_paused(stage.now, paused=False)
        for _ in itertools.repeat(None, ROUNDS):
            for known in self.model.values():
                if known.phase == "held" and known.held and say(stage, known.held.ack()) == ["done"]:
                    known.phase = "completed"
            if all(known.phase in ENDED_STATES for known in self.model.values()):
                break
            self.fetch(5, 7.05)
        else:
            raise AssertionError("some tasks never end")
        self.what_is_stored_is_what_happened()


@pytest.mark.timeout(600)  # it takes seconds; but making a failure small takes minutes
@pytest.mark.parametrize("delivery", list(Delivery))
def test_whatever_happens_a_task_is_with_one_consumer_and_every_word_counts_once(delivery: Delivery) -> None:
    class Machine(ConsumerMachine):
        pass

    Machine.delivery = delivery
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)),
    )
