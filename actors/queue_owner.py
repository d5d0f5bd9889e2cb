"""The owner of one queue: decides, stores, and only then says what is to be sent.

A plain class, so that it can be driven without actors. The Queue actor hands it messages, deaths and the time, performs
what stands in `outbox` and asks `next_look` when to come back. Each turn is one transaction that carries all that is
known at that moment: new tasks, outcomes of all workers, the next hand-outs.
"""

import random

from callboard.actors.admission import Arrivals, admit
from callboard.actors.crew import Moment
from callboard.actors.errors import DuplicateTask, StoreUnavailable
from callboard.actors.foreman import Send
from callboard.actors.launching import Launch, Launcher, put_tokens, rows_of
from callboard.actors.messages import Settlement, Submission, Verdict, Want
from callboard.actors.ordering import Order
from callboard.actors.pulling import Exchange
from callboard.actors.recovery import named_once, recover
from callboard.actors.reordering import reorder
from callboard.actors.store import Change, Ownership, QueueStore, Transaction
from callboard.actors.storing import Storing
from callboard.actors.task import ENDED_STATES, TaskState
from callboard.actors.worker_files import LeftBehind
from callboard.conf.settings import QueueSettings


class QueueOwner(Storing):
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
        super().__init__(queue, store, ownership, settings, rng=rng, now=now)
        self.draining = False
        self.stopping = False
        self._rng = rng
        self._launcher = Launcher(self.crew, self.window, self.run_times, ownership.last_hand_out)

    # ------------------------------------------------------------ what happened

    def recover(self, left: LeftBehind, now: Moment) -> None:
        """Settle what earlier owners had handed out; their workers must be gone. Raises `StoreUnavailable`."""
        hand_outs = named_once(self.store.hand_outs())
        ids = [task_id for hand_out in hand_outs for task_id in hand_out.ids if task_id]
        tasks = {task.id: task for task in self.store.load(ids)}
        recover(self.adopt(hand_outs, tasks, now), tasks, left, self.outcomes, now)
        self._reorder(now)

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

    def exchange(self, settlements: tuple[Settlement, ...], wants: tuple[Want, ...], now: Moment) -> Exchange:
        """Store what consumers say of the tasks they have, and give them others. Raises `StoreUnavailable`."""
        exchange = Exchange(settlements, wants)
        self.turn(now, exchange=exchange)
        if self.trouble:
            raise StoreUnavailable(self.trouble)
        return exchange

    # ------------------------------------------------------------ the turn

    def turn(self, now: Moment, arrivals: Arrivals | None = None, exchange: Exchange | None = None) -> None:
        """Look at all workers, decide what runs next, store it all in one transaction, fill the outbox."""
        for slot in self.crew.busy():
            self.look_after(slot, now)
        self.expire(now)
        if arrivals is None and exchange is None and now.mono < self._store_retry:
            return
        launches: list[Launch] = []
        self.places.promoted = []
        try:
            self._read_ahead(now)
            if exchange is not None:
                exchange.settle(self.queue, self.leases, self.store.load, self._rng, now)
            if arrivals is None and not self._has_work(now, exchange):
                self._serve(exchange, now)
                return
            with self.store.transaction() as transaction:
                self._bring_in(transaction, arrivals, now)
                self._serve(exchange, now)
                launches = self._launcher.choose(self._free(), now.wall, now.mono)
                change = self._change(arrivals, exchange, launches, now)
                transaction.apply(change)
        except StoreUnavailable as error:
            self._undo(arrivals, exchange, launches)
            self._in_trouble(str(error), now)
            return
        except BaseException:
            self._undo(arrivals, exchange, launches)
            raise
        self.trouble, self._store_failures, self._store_retry = "", 0, 0.0
        self._log(change, self.places.promoted)
        self._stored(self.outcomes.facts, now)
        # After what became of an attempt, before the start of the next one: it may have been due and fetched in one turn.
        self.outcomes.events.due(self.places.promoted, now.wall)
        if exchange is not None:
            self.exchanged(exchange, now)
            self._stored(exchange.facts, now)
        if arrivals is not None:
            self.outcomes.events.enqueued(arrivals.placed.values(), now.wall)
            self.rates.add("submitted", len(arrivals.placed), now.mono)
        for launch in launches:
            assert launch.slot.address is not None
            self.outbox.append(Send(launch.slot.address, put_tokens(launch)))

    def next_look(self, now: Moment) -> float:
        """Return the monotonic time at which `turn` should be called if nothing happens before."""
        moments = [self.leases.next_end(), *(self.next_care(slot, now) for slot in self.crew.busy())]
        if self.trouble:
            moments.append(self._store_retry)
        else:
            moments.append(self.places.next_look(now))
        return min(moments)

    def _reorder(self, now: Moment) -> None:
        """Put what waits into the order of the settings. Raises `StoreUnavailable`; what was done stays done."""
        self.store_facts(now)
        order = Order(self.settings.aging_ms or 0)
        reorder(self.store, self.crew, self.leases, self.window, order)
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

    def _has_work(self, now: Moment, exchange: Exchange | None) -> bool:
        """Tell whether there is anything to store: what has happened, what is due, what somebody can have.

        A store that has failed is tried again even for nothing: nobody else would find out that it is well.
        """
        wanted = exchange is not None and bool(exchange.wants) and not (self.paused or self.stopping)
        found = self.window.peek() is not None or (self._runs_nothing and self.window.peek_alone() is not None)
        may_begin = (wanted and found) or (self._free() > 0 and self._launcher.has_work())
        said = exchange is not None and bool(exchange.facts.change)
        return may_begin or said or bool(self.outcomes.facts.change) or self.places.is_due(now) or bool(self.trouble)

    @property
    def _runs_nothing(self) -> bool:
        """Whether all its tasks are for consumers."""
        return self.settings.concurrency == 0 or not self.settings.handlers

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

    def _serve(self, exchange: Exchange | None, now: Moment) -> None:
        if exchange is not None:
            numbers = iter(self._launcher.next_number, 0)
            closed, all_of_it = self.paused or self.stopping, self._runs_nothing
            exchange.serve(self.leases, self.window, numbers, now, closed=closed, all_of_it=all_of_it)

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

    def _change(self, arrivals: Arrivals | None, exchange: Exchange | None, launches: list[Launch], now: Moment) -> Change:
        """Put together what this turn stores: the facts, the arrivals, what consumers want, and all hand-outs."""
        facts = self.outcomes.facts.change
        asked = exchange.facts.change if exchange is not None else Change()
        arrived = arrivals.placed if arrivals is not None else {}
        inserts, updates = rows_of(launches, arrived, now.wall)
        return Change(
            inserts=inserts,
            updates=facts.updates + asked.updates + updates,
            completions=facts.completions + asked.completions,
            hand_outs=facts.hand_outs + asked.hand_outs + [launch.row() for launch in launches],
            hand_outs_ended=facts.hand_outs_ended + asked.hand_outs_ended,
            keys=arrivals.keys if arrivals is not None else [],
            rulings=facts.rulings + asked.rulings,
        )

    def _undo(self, arrivals: Arrivals | None, exchange: Exchange | None, launches: list[Launch]) -> None:
        """Forget what was decided and could not be stored; facts stay until they can."""
        self._launcher.undo(launches)
        for task in exchange.taken if exchange is not None else ():
            self.window.push(task)
        self.window.discard(task.id for task in self.places.promoted)
        if arrivals is not None:
            self.window.discard(arrivals.pushed)
