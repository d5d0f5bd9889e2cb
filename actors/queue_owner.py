"""The owner of one queue: decides, stores, and only then says what is to be sent.

A plain class, so that it can be driven without actors. The Queue actor hands it messages, deaths and the time, performs
what stands in `outbox` and asks `next_look` when to come back. Each turn is one transaction that carries all that is
known at that moment: new tasks, outcomes of all workers, the next hand-outs.
"""

import logging
import random
from collections.abc import Callable

from callboard.actors.admission import Arrivals, admit
from callboard.actors.crew import Moment, care_for
from callboard.actors.errors import DuplicateTask, StoreUnavailable
from callboard.actors.foreman import Foreman, Send
from callboard.actors.launching import Launch, Launcher, put_tokens, rows_of
from callboard.actors.messages import DeadTask, Submission, Verdict
from callboard.actors.ordering import Order
from callboard.actors.outcomes import Facts
from callboard.actors.places import Places
from callboard.actors.recovery import recover
from callboard.actors.reordering import reorder
from callboard.actors.store import Change, Ownership, QueueStore, TaskUpdate, Transaction
from callboard.actors.task import ENDED_STATES, TaskState
from callboard.actors.worker_files import LeftBehind
from callboard.conf.settings import QueueSettings

MAX_DEATHS_HELD = 1_000
"""So many wait to be forwarded to the DeadLetter; older ones are in the store anyway."""
_STORE_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = logging.getLogger(__name__)


class QueueOwner(Foreman):
    """Owns one queue from `recover` until the process ends."""

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
        self.settings_version = 0
        self.incarnation = ownership.incarnation
        self.paused = ownership.paused
        self.draining = False
        self.stopping = False
        self.trouble = ""
        """Why the store can't be used just now."""
        self.on_stored: Callable[[Facts], None] = lambda _facts: None
        """Called after each commit, for those who wait for what it has stored."""
        self.dead: list[DeadTask] = []
        self.order = Order(settings.aging_ms or 0)
        self.places = Places(self.order.last_came(ownership.last_rank, now.wall))
        self._launcher = Launcher(self.crew, self.window, self.run_times, ownership.last_hand_out)
        self._store_failures = 0
        self._store_retry = 0.0

    # ------------------------------------------------------------ what happened

    def recover(self, left: LeftBehind, now: Moment) -> None:
        """Settle what earlier owners had handed out; their workers must be gone. Raises `StoreUnavailable`."""
        hand_outs = self.store.hand_outs()
        ids = [task_id for hand_out in hand_outs for task_id in hand_out.ids if task_id]
        tasks = {task.id: task for task in self.store.load(ids)}
        recover(hand_outs, tasks, left, self.outcomes, now)
        self._reorder(now)

    def store_facts(self, now: Moment) -> None:
        """Store what has happened, without handing anything out. Raises `StoreUnavailable`; the facts then stay."""
        facts = self.outcomes.facts
        if facts.change:
            with self.store.transaction() as transaction:
                transaction.apply(facts.change)
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

    def submit(self, submissions: tuple[Submission, ...], now: Moment) -> tuple[Verdict, ...]:
        """Store new tasks, the first of them already handed out if workers are idle. Raises `StoreUnavailable`."""
        arrivals = Arrivals(submissions)
        try:
            self.turn(now, arrivals)
        except DuplicateTask:
            # Ids are made at the edge, so a message that comes twice brings the same tasks.
            arrivals = Arrivals(tuple(submission._replace(resent=True) for submission in submissions))
            self.turn(now, arrivals)
        if self.trouble:
            raise StoreUnavailable(self.trouble)
        return arrivals.verdicts

    def set_paused(self, now: Moment, *, paused: bool) -> None:
        """Pause or resume, now and after a restart. Raises `StoreUnavailable`."""
        if paused:
            self.release_all(self.crew.busy(), now)
        with self.store.transaction() as transaction:
            transaction.set_paused(paused)
        self.paused = paused

    def scale(self, concurrency: int) -> None:
        """Change the concurrency, now and after a restart. Raises `StoreUnavailable`."""
        settings = self.settings.model_copy(update={"concurrency": concurrency})
        with self.store.transaction() as transaction:
            self.settings_version = transaction.set_settings(settings.model_dump_json())
        self.settings = settings

    # ------------------------------------------------------------ the turn

    def turn(self, now: Moment, arrivals: Arrivals | None = None) -> None:
        """Look at all workers, decide what runs next, store it all in one transaction, fill the outbox."""
        for slot in self.crew.busy():
            self.look_after(slot, now)
        if arrivals is None and now.mono < self._store_retry:
            return
        launches: list[Launch] = []
        self.places.promoted = []
        try:
            self._read_ahead(now)
            if arrivals is None and not self._has_work(now):
                return
            with self.store.transaction() as transaction:
                self._bring_in(transaction, arrivals, now)
                launches = self._launcher.choose(self._free(), now.wall, now.mono)
                transaction.apply(self._change(arrivals, launches, now))
        except StoreUnavailable as error:
            self._undo(arrivals, launches)
            self._in_trouble(str(error), now)
            return
        except BaseException:
            self._undo(arrivals, launches)
            raise
        self.trouble, self._store_failures = "", 0
        self._stored(self.outcomes.facts, now)
        if arrivals is not None:
            self.rates.add("submitted", len(arrivals.placed), now.mono)
        for launch in launches:
            assert launch.slot.address is not None
            self.outbox.append(Send(launch.slot.address, put_tokens(launch)))

    def next_look(self, now: Moment) -> float:
        """Return the monotonic time at which `turn` should be called if nothing happens before."""
        moments = [care_for(slot, now.mono)[1] for slot in self.crew.busy()]
        if self.trouble:
            moments.append(self._store_retry)
        else:
            moments.append(self.places.next_look(now))
        return min(moments)

    def _reorder(self, now: Moment) -> None:
        """Put what waits into the order of the settings. Raises `StoreUnavailable`; what was done stays done."""
        self.store_facts(now)
        order = Order(self.settings.aging_ms or 0)
        reorder(self.store, self.crew, self.window, order)
        self.order = order

    def _read_ahead(self, now: Moment) -> None:
        """Fill the window from the store, and learn when the next task is due."""
        if self.order != Order(self.settings.aging_ms or 0):
            self._reorder(now)
        if self.window.wants_more:
            if any(update.state == TaskState.AVAILABLE for update in self.outcomes.facts.change.updates):
                # Behind the edge they were left to the store: it must know of them before it is read past them.
                self.store_facts(now)
            count, size = self.window.room()
            rows = self.store.ready(self.window.edge, count, size)
            # The store does not know yet of what has just been handed out or has ended.
            change = self.outcomes.facts.change
            elsewhere = {*self.crew.places, *(c.id for c in change.completions), *(u.id for u in change.updates)}
            self.window.filled(rows, everything=not rows, elsewhere=elsewhere)
        self.places.scan(self.store, now, self.settings.poll_interval_ms / 1_000)

    def _has_work(self, now: Moment) -> bool:
        """Tell whether there is anything to store: what has happened, what is due, what an idle worker can have.

        A store that has failed is tried again even for nothing: nobody else would find out that it is well.
        """
        may_launch = self._free() > 0 and self.window.peek() is not None
        return may_launch or bool(self.outcomes.facts.change) or self.places.is_due(now) or bool(self.trouble)

    def _free(self) -> int:
        if self.paused or self.stopping:
            return 0
        return self._launcher.free(self.settings.concurrency)

    def _bring_in(self, transaction: Transaction, arrivals: Arrivals | None, now: Moment) -> None:
        """Fill the window with what arrives and what is due."""
        if self.trouble:
            # A transaction that writes nothing would succeed on a full disk as well.
            transaction.set_paused(self.paused)
        if arrivals is not None:
            self._take_in(arrivals, transaction, now)
        for task in self.places.promote(transaction, now, self.order):
            self.window.push(task)

    def _take_in(self, arrivals: Arrivals, transaction: Transaction, now: Moment) -> None:
        room = None
        if self.settings.max_length:
            counts = self.store.counts()
            unfinished = sum(count for state, count in counts.items() if state not in ENDED_STATES)
            room = self.settings.max_length - unfinished
        admit(arrivals, transaction, self.queue, room, closed=self.draining)
        first_rank = self.places.take_ranks(len(arrivals.accepted), now)
        # One that is here already came before; the store will say so.
        arrivals.pushed = self.window.push_new(arrivals.place(now.wall, first_rank, self.order), elsewhere=self.crew.places)
        for run_at in arrivals.later:
            self.places.note(run_at)

    def _change(self, arrivals: Arrivals | None, launches: list[Launch], now: Moment) -> Change:
        """Put together what this turn stores: the facts, the arrivals, and the hand-outs of both."""
        facts = self.outcomes.facts.change
        arrived = arrivals.placed if arrivals is not None else {}
        inserts, updates = rows_of(launches, arrived, now.wall)
        return Change(
            inserts=inserts,
            updates=facts.updates + updates,
            completions=facts.completions,
            hand_outs=facts.hand_outs + [launch.row() for launch in launches],
            hand_outs_ended=facts.hand_outs_ended,
            keys=arrivals.keys if arrivals is not None else [],
        )

    def _undo(self, arrivals: Arrivals | None, launches: list[Launch]) -> None:
        """Forget what was decided and could not be stored; facts stay until they can."""
        self._launcher.undo(launches)
        self.window.discard(task.id for task in self.places.promoted)
        if arrivals is not None:
            self.window.discard(arrivals.pushed)

    def _in_trouble(self, reason: str, now: Moment) -> None:
        wait = _STORE_RETRY_SECONDS[min(self._store_failures, len(_STORE_RETRY_SECONDS) - 1)]
        self._store_failures += 1
        self._store_retry = now.mono + wait
        if reason != self.trouble:
            log.error("queue %s is degraded: %s", self.queue, reason)
        self.trouble = reason

    def _stored(self, facts: Facts, now: Moment) -> None:
        """Go on after a commit: the facts are history."""
        self.rates.add("completed", len(facts.change.completions), now.mono)
        self.rates.add("failed", facts.failed, now.mono)
        self.dead = (self.dead + facts.dead)[-MAX_DEATHS_HELD:]
        for update in facts.change.updates:
            if update.state == TaskState.RETRYABLE and update.run_at is not None:
                self.places.note(update.run_at)
        self.outcomes.facts = Facts()
        self.on_stored(facts)
