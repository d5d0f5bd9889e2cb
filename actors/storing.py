"""The part of a queue's owner that keeps the store in step: facts, knobs, and what to do while it can't be used."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence

from callboard.actors import transition_log
from callboard.actors.crew import Moment
from callboard.actors.facts import Facts
from callboard.actors.messages import DeadTask
from callboard.actors.ordering import Order
from callboard.actors.places import Places
from callboard.actors.pulling import Pulling
from callboard.actors.store import Change, Ownership, QueueStore, ReadyTask, TaskUpdate
from callboard.actors.task import TaskState
from callboard.conf.queue_settings import Delivery
from callboard.conf.settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults

MAX_DEATHS_HELD = 1_000
"""So many wait to be forwarded to the DeadLetter; older ones are in the store anyway."""
_STORE_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = logging.getLogger(__name__)


class Storing(Pulling):
    """Stores what has happened and what was wished; `QueueOwner` adds the turn that decides what happens next."""

    def __init__(
        self,
        queue: str,
        store: QueueStore,
        ownership: Ownership,
        settings: QueueSettings,
        *,
        rng: random.Random,
        now: Moment,
    ) -> None:
        super().__init__(queue, rng, now)
        self.store = store
        self.settings = settings
        self.settings_version = ownership.settings_version
        self.incarnation = ownership.incarnation
        self.paused = ownership.paused
        self.trouble = ""
        """Why the store can't be used just now."""
        self.on_stored: Callable[[Facts], None] = lambda _facts: None
        """Called after each commit, for those who wait for what it has stored."""
        self.dead: list[DeadTask] = []
        self.order = Order(settings.aging_ms or 0)
        self.places = Places(ownership.last_rank)
        self._store_failures = 0
        self._store_retry = 0.0

    @property
    def settings(self) -> QueueSettings:
        """The queue's settings as they are now."""
        return self._settings

    @settings.setter
    def settings(self, settings: QueueSettings) -> None:
        self._settings = settings
        self.outcomes.at_most_once = settings.delivery is Delivery.AT_MOST_ONCE

    def store_facts(self, now: Moment) -> None:
        """Store what has happened, without handing anything out. Raises `StoreUnavailable`; the facts then stay."""
        facts = self.outcomes.facts
        if facts.change:
            with self.store.transaction() as transaction:
                transaction.apply(facts.change)
            self._log(facts.change)
            self._stored(facts, now)

    def store_wishes(self, updates: list[TaskUpdate], now: Moment) -> None:
        """Store what somebody has asked for, and all facts. Raises `StoreUnavailable`; the wishes are then forgotten."""
        facts = self.outcomes.facts
        before = len(facts.change.updates)
        facts.change.updates += updates
        try:
            self.store_facts(now)
        except BaseException:
            del facts.change.updates[before:]
            raise

    def set_paused(self, now: Moment, *, paused: bool) -> None:
        """Pause or resume, now and after a restart. Raises `StoreUnavailable`."""
        if paused:
            self.release_all(self.crew.busy(), now)
        with self.store.transaction() as transaction:
            transaction.set_paused(paused)
        self.paused = paused

    def scale(self, concurrency: int) -> None:
        """Change the concurrency, now and after a restart. Raises `StoreUnavailable`."""
        self._change_settings(lambda stored: stored.model_copy(update={"concurrency": concurrency}))

    def learn(self, learned: Mapping[str, TypeDefaults]) -> bool:
        """Take note of what a worker's handlers say of their tasks; True if that is news. Raises `StoreUnavailable`."""
        taught = self.settings.with_learned(learned)
        if taught == self.settings:
            return False
        self._change_settings(lambda stored: stored.model_copy(update={"learned": {}}).taught_by(taught))
        return True

    def _change_settings(self, change: Callable[[QueueSettings], QueueSettings]) -> None:
        """Change the stored settings: they may be newer than ours, and the Registry's word of that still on its way."""
        with self.store.transaction() as transaction:
            text, version = transaction.settings()
            known = version == self.settings_version
            settings = change(self.settings if known else QueueSettings.model_validate_json(text))
            version = transaction.set_settings(settings.model_dump_json())
        self.settings, self.settings_version = settings, version

    def _log(self, change: Change, due: Sequence[ReadyTask] = ()) -> None:
        if transition_log.wanted():
            transition_log.log_transitions(self.queue, change, due)

    def _in_trouble(self, reason: str, now: Moment) -> None:
        wait = _STORE_RETRY_SECONDS[min(self._store_failures, len(_STORE_RETRY_SECONDS) - 1)]
        self._store_failures += 1
        self._store_retry = now.mono + wait
        if reason != self.trouble:
            log.error("queue %s is degraded: %s", self.queue, reason)
        self.trouble = reason

    def _stored(self, facts: Facts, now: Moment) -> None:
        """Go on after a commit: the facts are history."""
        self.rates.add("completed", len(facts.change.completions) + facts.completed, now.mono)
        self.rates.add("failed", facts.failed, now.mono)
        self.dead = (self.dead + facts.dead)[-MAX_DEATHS_HELD:]
        for update in facts.change.updates:
            if update.state == TaskState.RETRYABLE and update.run_at is not None:
                self.places.note(update.run_at)
        if facts is self.outcomes.facts:
            self.outcomes.facts = Facts()
            self.outcomes.events.stored(now.wall)
        self.on_stored(facts)
