"""What people do to a queue's tasks by hand: cancel, retry, purge.

A cancellation of a running task is answered only when its worker has died of it, or the task was quicker.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from thespian.actors import ActorAddress

from callboard.actors.crew import Doom, Moment, Slot
from callboard.actors.facts import Facts
from callboard.actors.foreman import Send
from callboard.actors.lifecycle import cancel, retry_by_hand
from callboard.actors.messages import DeadPurged, TasksChanged
from callboard.actors.queue_owner import QueueOwner
from callboard.actors.task import CLAIMED, TaskState

_PURGE_AT_ONCE = 1_000
_PURGE_SECONDS = 1.0
_ALWAYS = 2**63 - 1
"""Later than any time in a store: after the clock has been set back, tasks have died later than now, too."""


@dataclass(slots=True)
class _Waiting:
    """A cancellation that waits for workers to die."""

    request_id: str
    sender: ActorAddress
    outstanding: set[str]
    changed: list[str]
    unchanged: dict[str, str] = field(default_factory=dict)


class Commands:
    """Carries out commands on one owner's tasks; answers go through the owner's outbox once they are stored."""

    def __init__(self, owner: QueueOwner) -> None:
        self._owner = owner
        self._waiting: list[_Waiting] = []

    def cancel(self, request_id: str, ids: tuple[str, ...], sender: ActorAddress, now: Moment) -> None:
        """Cancel what waits, have killed what runs. Raises `StoreUnavailable`."""
        owner = self._owner
        running = {task_id: place for task_id in dict.fromkeys(ids) if (place := self.reclaim(task_id, now)) is not None}
        # A later look may have found that an earlier one has ended, or got it back: what the store says decides then.
        running = {task_id: place for task_id, place in running.items() if owner.crew.flight(task_id) is not None}
        rest = [task_id for task_id in ids if task_id not in running]
        # What was taken back just now must be stored before it can be read.
        owner.store_facts(now)
        waiting = _Waiting(request_id, sender, set(running), [], dict.fromkeys(rest, ""))
        updates = []
        cancelled = []
        for task in owner.store.load(rest):
            lease = owner.leases.of_task(task.id)
            update = cancel(task, now.wall, *((lease.number, lease.started_at) if lease is not None else ()))
            if update is None:
                waiting.unchanged[task.id] = task.state
                continue
            updates.append(update)
            cancelled.append((task, update))
            del waiting.unchanged[task.id]
            waiting.changed.append(task.id)
        owner.store_wishes(updates, now)
        for task, update in cancelled:
            owner.outcomes.events.cancelled(task, update, stored=True)
        owner.window.discard(waiting.changed)
        owner.end_leases(waiting.changed)
        # Nobody dies for a request that is refused, hence not before.
        for slot, index in running.values():
            owner.doom(slot, Doom.CANCEL, index)
        self._waiting.append(waiting)
        self.stored(Facts())

    def retry(self, request_id: str, ids: tuple[str, ...], now: Moment, *, keep_attempts: bool) -> TasksChanged:
        """Put ended tasks back. Raises `StoreUnavailable`."""
        owner = self._owner
        unchanged = dict.fromkeys(ids, "")
        updates = []
        back = []
        for task in owner.store.load(ids):
            lane, rank = owner.order.place(task.priority, owner.places.next_rank(now))
            update = retry_by_hand(task, now.wall, lane, rank, keep_attempts=keep_attempts)
            if update is None:
                unchanged[task.id] = "available" if task.state == CLAIMED else task.state
                continue
            updates.append(update)
            del unchanged[task.id]
            back.append(
                task._replace(
                    state=update.state,
                    attempt=update.attempt,
                    failures=0,
                    interruptions=0,
                    lane=update.lane,
                    rank=update.rank,
                )
            )
        owner.store_wishes(updates, now)
        owner.outcomes.events.retried(back, now.wall)
        for task in back:
            owner.window.push(task)
        return TasksChanged(request_id, tuple(task.id for task in back), unchanged)

    def purge(self, request_id: str, ids: tuple[str, ...] | None, now: Moment) -> DeadPurged:
        """Delete dead tasks, for about a second; the answer says whether there may be more. Raises `StoreUnavailable`."""
        store = self._owner.store
        if ids is not None:
            dead = [task.id for task in store.load(ids) if task.state == TaskState.DEAD]
            with store.transaction() as transaction:
                return DeadPurged(request_id, transaction.delete(dead), more=False)
        total, gone = 0, _PURGE_AT_ONCE
        while gone == _PURGE_AT_ONCE and time.monotonic() < now.mono + _PURGE_SECONDS:
            # Many small transactions: other queues get their turn between them.
            with store.transaction() as transaction:
                gone = transaction.purge(TaskState.DEAD, _ALWAYS, _PURGE_AT_ONCE)
            total += gone
        return DeadPurged(request_id, total, more=gone == _PURGE_AT_ONCE)

    def stored(self, facts: Facts) -> None:
        """Answer the cancellations that this commit has settled."""
        still = []
        for waiting in self._waiting:
            for task_id in waiting.outstanding & facts.cancelled:
                waiting.changed.append(task_id)
            for task_id in waiting.outstanding & facts.ended.keys():
                waiting.unchanged[task_id] = facts.ended[task_id]
            waiting.outstanding -= facts.cancelled | facts.ended.keys()
            if waiting.outstanding:
                still.append(waiting)
                continue
            reply: Any = TasksChanged(waiting.request_id, tuple(waiting.changed), waiting.unchanged)
            self._owner.outbox.append(Send(waiting.sender, reply))
        self._waiting = still
        self._owner.outcomes.awaited = {task_id for waiting in still for task_id in waiting.outstanding}

    def reclaim(self, task_id: str, now: Moment) -> tuple[Slot, int] | None:
        """Get a handed-out task back from its worker; else say where it runs (or may): its worker is to be killed."""
        owner = self._owner
        place = owner.crew.flight(task_id)
        if place is None:
            return None
        slot, index, _ = place
        owner.outcomes.take_back(slot)
        owner.outcomes.sweep(slot, now)
        return None if owner.crew.flight(task_id) is None else (slot, index)
