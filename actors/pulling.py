"""What a queue's owner does for consumers that fetch their tasks: decides, remembers leases, and lets them expire.

What consumers ask for is decided in a turn and takes effect when that turn is stored; if it can't be, nothing has
happened. An expiry is a fact, like a worker's death: it stays until it is stored.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from callboard.actors.crew import Moment
from callboard.actors.facts import Facts
from callboard.actors.foreman import Foreman
from callboard.actors.leases import Lease, Leases, is_lease, new_lease, read_lease
from callboard.actors.lifecycle import Failed, Transition, begin, fail, judge
from callboard.actors.messages import DeadTask, Given, Settled, Settlement, Want, Word
from callboard.actors.store import Completion, HandOut, ReadyTask
from callboard.actors.task import ErrorKind, TaskState
from callboard.actors.window import Window

ANSWER_BYTES = 1_000_000
"""About so much context goes to one want, and at least one task."""


class Exchange:
    """What one message of consumers asks for, on its way into the store.

    settled, given: the answers, valid once `facts` are stored. taken: tasks to be put back into the window otherwise.
    """

    def __init__(self, settlements: Sequence[Settlement], wants: Sequence[Want]) -> None:
        self.settlements = settlements
        self.wants = wants
        self.settled: list[Settled] = []
        self.given: list[Given] = []
        self.facts = Facts()
        self.put: list[Lease] = []
        self.gone: dict[str, Settlement] = {}
        self.begun: list[Lease] = []
        self.completed: list[Lease] = []
        self.failed: list[tuple[ReadyTask, Failed, Transition]] = []
        self.taken: list[ReadyTask] = []

    def settle(
        self,
        queue: str,
        leases: Leases,
        load: Callable[[Sequence[str]], Sequence[ReadyTask]],
        rng: random.Random,
        now: Moment,
    ) -> None:
        """Decide about each word; `load` gets tasks from the store for those that nobody has (any more)."""
        unheld = [word.task_id for word in self.settlements if not _holds(leases.of_task(word.task_id), word)]
        stored = {task.id: task for task in load(unheld)} if unheld else {}
        for word in self.settlements:
            lease = leases.of_task(word.task_id)
            if lease is None or not _holds(lease, word):
                self.settled.append(_belated(word, stored))
            elif word.task_id in self.gone:
                self.settled.append(Settled.DONE if self.gone[word.task_id] == word else Settled.STALE)
            else:
                self._settle(queue, lease, word, rng, now)
                self.settled.append(Settled.DONE)

    def serve(
        self, leases: Leases, window: Window, numbers: Iterator[int], now: Moment, *, closed: bool, all_of_it: bool
    ) -> None:
        """Give each want what is first in the window.

        closed: nothing may be begun just now. all_of_it: what is to run alone as well, for no worker will come for it.
        """
        for want in self.wants:
            held = leases.of_want(want.id)
            if held:
                self.given.append(Given(tuple((lease.task.id, lease.number) for lease in held)))
                continue
            found = [] if closed else list(self._take(want, window, all_of_it=all_of_it))
            for task in found:
                update = begin(task, now.wall)
                leased = task._replace(state=update.state, attempt=update.attempt)
                lease = new_lease(leased, next(numbers), want, now)
                self.put.append(lease)
                self.begun.append(lease)
                self.facts.change.updates.append(update)
                self.facts.change.hand_outs.append(lease.row())
            ours = self.put[len(self.put) - len(found) :]
            # Behind the window's edge the store may have more; if the window has room, it is read before the next turn.
            more = not found and not closed and window.wants_more
            self.given.append(Given(tuple((lease.task.id, lease.number) for lease in ours), more))

    def _take(self, want: Want, window: Window, *, all_of_it: bool) -> Iterator[ReadyTask]:
        size = 0
        for place in range(want.max):
            task, take = _first(window, all_of_it=all_of_it)
            size += 0 if task is None else len(task.context)
            if task is None or (place and size > ANSWER_BYTES):
                return
            take(task)
            self.taken.append(task)
            yield task

    def _settle(self, queue: str, lease: Lease, word: Settlement, rng: random.Random, now: Moment) -> None:
        task, number = lease.task, lease.number
        if word.word is Word.HEARTBEAT:
            renewed = lease.renewed(word.lease_ms, now)
            self.put.append(renewed)
            self.facts.change.hand_outs.append(renewed.row())
            return
        self.gone[task.id] = word
        self.facts.change.hand_outs_ended.append(number)
        done = word.word is Word.ACK
        # Nothing has crashed: a suspect is acquitted, as after a run alone.
        task, ruling = judge(task, None if done else ErrorKind.ERROR)
        if ruling is not None:
            self.facts.change.rulings.append(ruling)
        if done:
            ended = Completion(task.id, task.state, task.attempt, lease.started_at, now.wall, word.text, number)
            self.facts.change.completions.append(ended)
            self.completed.append(lease)
            return
        failure = Failed(ErrorKind.ERROR, word.text, lease.started_at, now.wall, discard=word.discard)
        transition = fail(task, number, failure, rng)
        update = transition.update
        self.failed.append((task, failure, transition))
        self.facts.change.updates.append(update)
        self.facts.failed += 1
        if update.state == TaskState.DEAD:
            self.facts.dead.append(DeadTask(task.id, queue, now.wall, failure.kind, failure.message))


def _first(window: Window, *, all_of_it: bool) -> tuple[ReadyTask | None, Callable[[ReadyTask], None]]:
    """Return the task that is next, and what takes it out."""
    task = window.peek()
    alone = window.peek_alone() if all_of_it else None
    if alone is None or (task is not None and (task.lane, task.rank) <= (alone.lane, alone.rank)):
        return task, window.take
    return alone, window.take_alone


def _holds(lease: Lease | None, word: Settlement) -> bool:
    return lease is not None and lease.number == word.number


def _belated(word: Settlement, stored: Mapping[str, ReadyTask]) -> Settled:
    """Judge a word about a task that is not with its consumer: an ack that has been stored before is good."""
    task = stored.get(word.task_id)
    if task is None:
        return Settled.UNKNOWN
    ours = task.hand_out == word.number and task.state == TaskState.COMPLETED
    return Settled.DONE if ours and word.word is Word.ACK else Settled.STALE


class Pulling(Foreman):
    """The part of a queue's owner that deals with consumers."""

    def __init__(self, queue: str, rng: random.Random, now: Moment) -> None:
        super().__init__(queue, rng, now)
        self.leases = Leases()

    def adopt(self, rows: Sequence[HandOut], tasks: Mapping[str, ReadyTask], now: Moment) -> list[HandOut]:
        """Go on with the leases that earlier owners have given; returns the hand-outs to workers."""
        to_workers = []
        for row in rows:
            task = tasks.get(row.ids[0])
            if not is_lease(row):
                to_workers.append(row)
            elif task is None or task.state != TaskState.EXECUTING or task.hand_out >= row.number:
                self.outcomes.facts.change.hand_outs_ended.append(row.number)  # it was cancelled
            else:
                self.leases.put(read_lease(row, task, now))
        return to_workers

    def expire(self, now: Moment) -> None:
        """Have every lease that is over count as a failed attempt."""
        for lease in self.leases.expired(now.mono):
            who = f"consumer {lease.consumer!r}" if lease.consumer else "its consumer"
            message = f"the lease ended and {who} had said nothing"
            failure = Failed(ErrorKind.EXPIRED, message, lease.started_at, now.wall)
            self.end_leases((lease.task.id,))
            self.outcomes.failed(lease.task, lease.number, failure)

    def end_leases(self, task_ids: Collection[str]) -> None:
        """Have the claims to these tasks, if there are any, be stale from now on."""
        for task_id in task_ids:
            lease = self.leases.of_task(task_id)
            if lease is not None:
                self.leases.remove(task_id)
                self.outcomes.facts.change.hand_outs_ended.append(lease.number)

    def exchanged(self, exchange: Exchange, now: Moment) -> None:
        """Go on after the commit of what consumers have asked for."""
        events = self.outcomes.events
        for lease in exchange.begun:
            events.leased(lease.task, lease.started_at)
        for lease in exchange.completed:
            events.settled(lease.task, lease.started_at, now.wall)
        for task, failure, transition in exchange.failed:
            events.failed(task, failure, transition, stored=True)
        for lease in exchange.put:
            self.leases.put(lease)
        for task_id in exchange.gone:
            self.leases.remove(task_id)
