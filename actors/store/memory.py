"""A store in the memory of one process, for tests: the whole contract but durability, simple rather than fast."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from callboard.actors.errors import QueueBeingDeleted, QueueNotEmpty
from callboard.actors.store import Ownership, Page, QueueRow, TaskFilter
from callboard.actors.store.listing import read_cursor, write_cursor
from callboard.actors.store.memory_data import MemoryData, MemoryQueue, MemoryTask
from callboard.actors.store.memory_owner import MemoryQueueStore
from callboard.actors.store.moving import is_empty
from callboard.actors.store.rows import TASK_COLUMNS, task_of
from callboard.actors.store.schema import COUNTED, DUE_STATES
from callboard.actors.task import ENDED_STATES, Task, TaskState


class MemoryStore:
    """A store that is gone with the object. May be used from several threads."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        self._data = MemoryData()
        self._clock = clock

    def own(self, queue: str) -> tuple[MemoryQueueStore, Ownership]:
        """Become the queue's owner. Raises KeyError when the queue is not in the store."""
        with self._data.lock:
            found = self._data.queues[queue]
            self._data.incarnations += 1
            self._data.queues[queue] = replace(found, incarnation=self._data.incarnations)
            ownership = Ownership(
                incarnation=self._data.incarnations,
                last_rank=found.last_rank,
                last_hand_out=found.last_hand_out,
                counts=self._data.counts(queue),
                paused=found.row.paused,
                settings=found.row.settings,
                settings_version=found.row.settings_version,
            )
        return MemoryQueueStore(self._data, self._clock, queue, ownership.incarnation), ownership

    def queues(self) -> list[QueueRow]:
        """Return all queues by name."""
        with self._data.lock:
            return [queue.row for _, queue in sorted(self._data.queues.items())]

    def put_queue(self, name: str, settings: str, configured: str, now: int) -> QueueRow:
        """Create a queue or replace its settings. Raises `QueueBeingDeleted` while the name is not free."""
        with self._data.lock:
            if name in self._data.deleted:
                raise QueueBeingDeleted(name)
            found = self._data.queues.get(name)
            if found is None:
                found = MemoryQueue(QueueRow(name, settings, configured, paused=False, created_at=now, settings_version=1))
            else:
                version = found.row.settings_version + 1
                row = replace(found.row, settings=settings, configured=configured, settings_version=version)
                found = replace(found, row=row)
            self._data.queues[name] = found
            self._data.version += 1
            return found.row

    def delete_queue(self, name: str, *, only_empty: bool = False) -> int:
        """Delete the queue and all its tasks. Raises KeyError when the queue is not in the store."""
        with self._data.lock:
            if only_empty and not is_empty(self._data.counts(name)):
                raise QueueNotEmpty(name)
            del self._data.queues[name]
            ids = [task.id for task in self._data.of_queue(name)]
            for task_id in ids:
                del self._data.tasks[task_id]
            self._data.hand_outs = {key: batch for key, batch in self._data.hand_outs.items() if key[0] != name}
            self._data.keys = {key: use for key, use in self._data.keys.items() if key[1] != name}
            self._data.deleted.add(name)
            self._data.version += 1
            return len(ids)

    def clear_deleted(self, seconds: float) -> bool:  # noqa: ARG002 - it takes no time
        """Free the names of deleted queues: their tasks are gone as it is."""
        with self._data.lock:
            self._data.deleted.clear()
        return True

    def get(self, task_id: str) -> Task | None:
        """Return one task."""
        return next(iter(self.get_many([task_id])), None)

    def get_many(self, ids: Sequence[str]) -> list[Task]:
        """Return those of these tasks that exist, in the order of the ids."""
        with self._data.lock:
            found = [self._data.tasks[task_id] for task_id in dict.fromkeys(ids) if task_id in self._data.tasks]
        return [_shown(task) for task in found]

    def ended(self, ids: Iterable[str]) -> set[str]:
        """Return those of the ids whose tasks have ended or do not exist any more."""
        with self._data.lock:
            tasks = self._data.tasks
            return {task_id for task_id in ids if task_id not in tasks or tasks[task_id].state in ENDED_STATES}

    def page(self, chosen: TaskFilter, limit: int, cursor: str | None) -> Page:
        """Return a page of tasks. Raises ValueError for a cursor that is not ours."""
        found = self._newest(chosen, read_cursor(cursor))
        following = write_cursor(found[limit - 1].id) if len(found) > limit else None
        return Page([_shown(task) for task in found[:limit]], following)

    def matching_ids(self, chosen: TaskFilter, limit: int, before: str | None = None) -> list[tuple[str, str]]:
        """Return (queue, id) of the tasks that the filter chooses, newest first, older than the id `before`."""
        return [(task.queue, task.id) for task in self._newest(chosen, before)[:limit]]

    def counts(self) -> dict[str, dict[TaskState, int]]:
        """Return every queue's counts."""
        with self._data.lock:
            return {name: self._data.counts(name) for name in sorted(self._data.queues)}

    def agenda(self) -> dict[str, int]:
        """Return when each queue has something to do."""
        found: dict[str, int] = {}
        with self._data.lock:
            for task in self._data.tasks.values():
                state = COUNTED[task.state]
                if state in DUE_STATES:
                    found[task.queue] = min(found.get(task.queue, task.run_at), task.run_at)
                elif state not in ENDED_STATES:
                    found[task.queue] = 0
            return found | dict.fromkeys((queue for queue, _ in self._data.hand_outs), 0)

    def version(self) -> int:
        """Return a number that changes whenever somebody has written."""
        return self._data.version

    def check(self) -> None:
        """Do nothing: memory answers."""

    def close(self) -> None:
        """Do nothing: what is in memory goes with the object."""

    def _newest(self, chosen: TaskFilter, before: str | None) -> list[MemoryTask]:
        with self._data.lock:
            found = [
                task
                for task in self._data.tasks.values()
                if (before is None or task.id < before)
                and (chosen.queue is None or task.queue == chosen.queue)
                and (chosen.state is None or COUNTED[task.state] == chosen.state)
                and (chosen.type is None or task.type == chosen.type)
            ]
        return sorted(found, key=lambda task: task.id, reverse=True)


def _shown(task: MemoryTask) -> Task:
    return task_of([getattr(task, column.name) for column in TASK_COLUMNS])
