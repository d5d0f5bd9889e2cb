"""What a queue's owner holds of the memory store."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from callboard.actors.errors import DuplicateTask, StaleChange, Superseded
from callboard.actors.ordering import STRICT, Order, came
from callboard.actors.store import KEY_MICROSECONDS, Change, HandOut, Insert, KeyUse, ReadyTask, Ruling, TaskUpdate
from callboard.actors.store.memory_data import MemoryData, MemoryKey, MemoryTask
from callboard.actors.store.moving import state_after_move
from callboard.actors.store.schema import DUE_STATES
from callboard.actors.task import ENDED_STATES, TaskState


class MemoryTransaction:
    """One open transaction; `MemoryQueueStore.transaction` begins and ends it."""

    def __init__(self, data: MemoryData, queue: str, now: int) -> None:
        self._data = data
        self._queue = queue
        self._now = now
        self._spoiled = False

    def apply(self, change: Change) -> None:
        """Write the change in the order of its fields. When it raises, the transaction can't be committed any more."""
        self._spoiled = True
        for new in change.inserts:
            self._insert(new)
        for ruling in change.rulings:
            self._rule(ruling)
        for update in change.updates:
            self._update(update)
        for done in change.completions:
            values = done._asdict()
            self._replace(done.id, values.pop("was"), state=str(TaskState.COMPLETED), **values)
        for batch in change.hand_outs:
            self._data.hand_outs[self._queue, batch.number] = batch
            self._rose(last_hand_out=batch.number)
        for number in change.hand_outs_ended:
            self._data.hand_outs.pop((self._queue, number), None)
        for use in change.keys:
            self._data.keys[use.key, self._queue] = MemoryKey(use.fingerprint, tuple(use.ids), self._now)
        self._spoiled = False

    def existing(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids that the store has, in any queue."""
        return {task_id for task_id in ids if task_id in self._data.tasks}

    def key_uses(self, keys: Sequence[str]) -> list[KeyUse]:
        """Return the uses of these keys, in any queue, that are younger than 24 h."""
        return [
            KeyUse(key, use.fingerprint, use.ids, queue)
            for (key, queue), use in sorted(self._data.keys.items(), key=lambda item: item[0])
            if key in keys and use.created_at > self._now - KEY_MICROSECONDS
        ]

    def set_paused(self, paused: bool) -> None:  # noqa: FBT001 - the stored flag itself
        """Store whether the queue is paused."""
        queue = self._data.queues[self._queue]
        self._data.queues[self._queue] = replace(queue, row=replace(queue.row, paused=paused))

    def settings(self) -> tuple[str, int]:
        """Return the stored settings and their version; nobody changes them before the transaction ends."""
        row = self._data.queues[self._queue].row
        return row.settings, row.settings_version

    def set_settings(self, settings: str) -> int:
        """Store new settings and return their version."""
        queue = self._data.queues[self._queue]
        row = replace(queue.row, settings=settings, settings_version=queue.row.settings_version + 1)
        self._data.queues[self._queue] = replace(queue, row=row)
        return row.settings_version

    def due(self, now: int, limit: int, first_rank: int, order: Order = STRICT) -> list[ReadyTask]:
        """Make due tasks available, earliest first, as if they came from `first_rank` on; return them in order."""
        waiting = (task for task in self._data.of_queue(self._queue) if task.state in DUE_STATES and task.run_at <= now)
        chosen = sorted(waiting, key=lambda task: (task.run_at, task.id))[:limit]
        due = []
        for at, task in enumerate(chosen, start=first_rank):
            lane, rank = order.place(task.priority, at)
            row = self._replace(task.id, task.state, state=str(TaskState.AVAILABLE), lane=lane, rank=rank)
            due.append(ready_task(row))
            self._rose(last_rank=at)
        return due

    def move(self, task: ReadyTask, to: str, priority: int, run_at: int | None) -> bool:
        """Move a waiting task to another queue; False: there is none of that name."""
        if to not in self._data.queues:
            return False
        values: dict[str, Any] = {"queue": to, "state": str(state_after_move(task)), "priority": priority}
        values |= dict.fromkeys(("hand_out", "lane", "rank", "interruptions"), 0)
        self._replace(task.id, task.state, **values, **({} if run_at is None else {"run_at": run_at}))
        return True

    def purge(self, state: TaskState, finished_before: int, limit: int) -> int:
        """Delete at most `limit` tasks that ended like this before then, oldest first; return how many."""
        ended = [
            (task.finished_at, task.id)
            for task in self._data.of_queue(self._queue)
            if task.state == state and task.finished_at is not None and task.finished_at < finished_before
        ]
        chosen = sorted(ended)[:limit]
        for _, task_id in chosen:
            del self._data.tasks[task_id]
        return len(chosen)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete those of these tasks of the queue that have ended; return how many."""
        asked = set(ids)
        chosen = [task.id for task in self._data.of_queue(self._queue) if task.id in asked and task.state in ENDED_STATES]
        for task_id in chosen:
            del self._data.tasks[task_id]
        return len(chosen)

    def check(self) -> None:
        """Raise when a change failed and the owner went on as if it had not."""
        if self._spoiled:
            raise RuntimeError("a change of this transaction failed: it can only be undone")

    def _insert(self, new: Insert) -> None:
        if new.task.id in self._data.tasks:
            raise DuplicateTask("a task with one of these ids is in the store already")
        values = {**new.task._asdict(), **new._asdict()}
        del values["task"]
        self._data.tasks[new.task.id] = MemoryTask(queue=self._queue, **values)
        self._rose(last_rank=came(new.lane, new.rank, new.task.priority))

    def _update(self, update: TaskUpdate) -> None:
        values = update._asdict()
        error = values.pop("error")
        if values["run_at"] is None:
            del values["run_at"]
        task = self._replace(update.id, values.pop("was"), **values)
        if error is not None:
            errors = [*json.loads(task.errors or "[]"), json.loads(error)]
            self._data.tasks[task.id] = replace(task, errors=json.dumps(errors))
        self._rose(last_rank=came(update.lane, update.rank, update.priority))

    def _rule(self, ruling: Ruling) -> None:
        task = self._data.tasks[ruling.id]
        errors = json.loads(task.errors or "[]")
        for error in errors:
            if error.get("suspect"):
                error |= {"suspect": False, "charged": ruling.guilty}
        task = replace(task, errors=json.dumps(errors))
        self._data.tasks[ruling.id] = task if ruling.guilty else replace(task, failures=task.failures - 1, interruptions=0)

    def _replace(self, task_id: str, was: str, **values: Any) -> MemoryTask:
        task = self._data.tasks.get(task_id)
        if task is None or task.state != was:
            raise StaleChange(self._queue, 1)
        values["id"] = task_id
        self._data.tasks[task_id] = task = replace(task, **values)
        return task

    def _rose(self, last_rank: int = 0, last_hand_out: int = 0) -> None:
        queue = self._data.queues[self._queue]
        self._data.queues[self._queue] = replace(
            queue,
            last_rank=max(queue.last_rank, last_rank),
            last_hand_out=max(queue.last_hand_out, last_hand_out),
        )


class MemoryQueueStore:
    """A queue's owner's view of its queue. Made by `MemoryStore.own`."""

    def __init__(self, data: MemoryData, clock: Callable[[], int], queue: str, incarnation: int) -> None:
        self._data = data
        self._clock = clock
        self._queue = queue
        self._incarnation = incarnation

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """Open a transaction: nobody else reads or writes meanwhile, and whatever is raised undoes it."""
        with self._data.lock:
            queue = self._data.queues.get(self._queue)
            if queue is None or queue.incarnation != self._incarnation:
                raise Superseded(self._queue, self._incarnation)
            before = self._data.copy()
            try:
                yield (transaction := MemoryTransaction(self._data, self._queue, self._clock()))
                transaction.check()
            except BaseException:
                self._data.restore(before)
                raise
            self._data.version += 1

    def ready(self, after: tuple[int, int] | None, limit: int, max_bytes: int) -> list[ReadyTask]:
        """Return available rows after that key; like SQLite's, never a part of those that share one key."""
        found: list[ReadyTask] = []
        size = 0
        for task in self._available():
            if after is not None and (task.lane, task.rank) <= after:
                continue
            full = found and (len(found) >= limit or size >= max_bytes)
            if full and (found[-1].lane, found[-1].rank) != (task.lane, task.rank):
                break
            found.append(ready_task(task))
            size += len(task.context)
        return found

    def next_due(self) -> int | None:
        """Return the earliest `run_at` of the tasks that wait for it."""
        with self._data.lock:
            return min((task.run_at for task in self._data.of_queue(self._queue) if task.state in DUE_STATES), default=None)

    def oldest_ready(self) -> int | None:
        """Return when the available task of the smallest rank was made."""
        oldest = min(self._available(), key=lambda task: task.rank, default=None)
        return None if oldest is None else oldest.created_at

    def load(self, ids: Sequence[str]) -> list[ReadyTask]:
        """Return these tasks of the queue in the order of the ids."""
        with self._data.lock:
            found = [self._data.tasks[task_id] for task_id in dict.fromkeys(ids) if task_id in self._data.tasks]
            return [ready_task(task) for task in found if task.queue == self._queue]

    def counts(self) -> dict[TaskState, int]:
        """Return the queue's counts."""
        with self._data.lock:
            return self._data.counts(self._queue)

    def hand_outs(self) -> list[HandOut]:
        """Return the batches that were not ended, by number."""
        with self._data.lock:
            return [batch for (queue, _), batch in sorted(self._data.hand_outs.items()) if queue == self._queue]

    def close(self) -> None:
        """Do nothing: the data belong to the store."""

    def _available(self) -> list[MemoryTask]:
        with self._data.lock:
            waiting = (task for task in self._data.of_queue(self._queue) if task.state == TaskState.AVAILABLE)
            return sorted(waiting, key=lambda task: (task.lane, task.rank))


def ready_task(task: MemoryTask) -> ReadyTask:
    """Return what an owner sees of a row."""
    return ReadyTask(*(getattr(task, name) for name in ReadyTask._fields))
