"""Put back or delete many dead tasks from outside the actor system, each through the owner of its queue."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from callboard.actors.caller import QueueCaller
from callboard.actors.connection import Connection
from callboard.actors.messages import DeadPurged, PurgeDead, QueueFound, RetryTasks, TasksChanged
from callboard.actors.store import TaskFilter
from callboard.actors.task import TaskState

CHUNK: Final = 1_000
"""So many ids go into one message."""

_Found = list[tuple[str, str]]
"""Queue and id of dead tasks."""


class DeadTasks:
    """The dead tasks of a server: these ids, or those of a queue, or (both None) all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count(self, ids: Sequence[str] | None, queue: str | None) -> int:
        """Return how many there are."""
        if ids is not None:
            return len(self._these(ids))
        return sum(self._by_queue(queue).values())

    def retry(self, ids: Sequence[str] | None, queue: str | None) -> tuple[int, int]:
        """Put them back with a fresh budget; return how many there were and how many were put back."""
        matched = changed = 0
        for found in [self._these(ids)] if ids is not None else self._matching(queue):
            matched += len(found)
            for name, chunk in _chunks(found):
                changed += self._retry(name, chunk)
        return matched, changed

    def purge(self, ids: Sequence[str] | None, queue: str | None) -> tuple[int, int]:
        """Delete them; return how many there were and how many were deleted."""
        if ids is not None:
            found = self._these(ids)
            return len(found), sum(self._purge(name, chunk) for name, chunk in _chunks(found))
        matched = changed = 0
        for name, dead in self._by_queue(queue).items():
            purged = self._purge(name, None)
            matched += max(dead, purged)
            changed += purged
        return matched, changed

    def _these(self, ids: Sequence[str]) -> _Found:
        tasks = self._connection.store.get_many(list(dict.fromkeys(ids)))
        return [(task.queue, task.id) for task in tasks if task.state is TaskState.DEAD]

    def _matching(self, queue: str | None) -> Iterator[_Found]:
        before: str | None = None
        while found := self._connection.store.matching_ids(TaskFilter(queue, TaskState.DEAD), CHUNK, before):
            yield found
            before = found[-1][1]

    def _by_queue(self, queue: str | None) -> dict[str, int]:
        counts = {name: states.get(TaskState.DEAD, 0) for name, states in self._connection.store.counts().items()}
        return {name: dead for name, dead in counts.items() if dead and queue in {None, name}}

    def _retry(self, queue: str, ids: tuple[str, ...]) -> int:
        def request(request_id: str, found: QueueFound) -> RetryTasks:
            return RetryTasks(request_id, queue, found.incarnation, ids)

        def ask(caller: QueueCaller, left: float) -> tuple[TasksChanged, bool]:
            return caller.ask_queue(queue, request, TasksChanged, left)

        (answer, an_owner_died), the_server_died = self._connection.ask(ask)
        if an_owner_died or the_server_died:
            # What died may have put some back before: they were dead when we looked, and nobody else was asked to.
            return len(answer.changed) + sum(bool(state) for state in answer.unchanged.values())
        return len(answer.changed)

    def _purge(self, queue: str, ids: tuple[str, ...] | None) -> int:
        def request(request_id: str, found: QueueFound) -> PurgeDead:
            return PurgeDead(request_id, queue, found.incarnation, ids)

        def ask(caller: QueueCaller, left: float) -> tuple[DeadPurged, bool]:
            return caller.ask_queue(queue, request, DeadPurged, left)

        total, more = 0, True
        while more:
            reply = self._connection.ask(ask)[0][0]
            total, more = total + reply.tasks, reply.more
        return total


def _chunks(found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for queue, task_id in found:
        grouped[queue].append(task_id)
    for queue, ids in grouped.items():
        for start in range(0, len(ids), CHUNK):
            yield queue, tuple(ids[start : start + CHUNK])
