"""The bounded part of a queue's ready tasks that its owner holds in memory.

Everything up to the *edge* (a key of the order) is in memory or handed out; what lies behind it is only in the store and
is read through one index when the window runs low. So memory does not grow with the backlog.
"""

import heapq
from collections.abc import Container, Iterable

from callboard.actors.store import ReadyTask

Key = tuple[int, int]
"""(lane, rank): smaller runs first; unique within a queue because ranks are."""

WINDOW_TASKS = 4_096
WINDOW_BYTES = 8 * 1024 * 1024
_START: Key = (-(2**63), 0)


class Window:
    """The first ready tasks of a queue, in order.

    limit: tasks it is filled up to; max_bytes: the same for their contexts. It may hold twice as much for a moment.
    """

    def __init__(self, limit: int = WINDOW_TASKS, max_bytes: int = WINDOW_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._heap: list[tuple[int, int, str]] = []
        self._tasks: dict[str, ReadyTask] = {}
        self._bytes = 0
        self._edge: Key | None = _START

    def __len__(self) -> int:
        """Return how many tasks are in memory."""
        return len(self._tasks)

    def __contains__(self, task_id: str) -> bool:
        """Tell whether this task is in memory."""
        return task_id in self._tasks

    @property
    def edge(self) -> Key | None:
        """The key up to which the store has been read; None: there is nothing behind."""
        return self._edge

    @property
    def wants_more(self) -> bool:
        """Tell whether the store should be read: the window is low and something may lie behind its edge."""
        return self._edge is not None and len(self._tasks) < self._limit // 4 and self._bytes < self._max_bytes // 4

    def room(self) -> tuple[int, int]:
        """Return how many tasks and bytes of context the next read should ask for."""
        return self._limit - len(self._tasks), max(self._max_bytes - self._bytes, 1)

    def push(self, task: ReadyTask) -> None:
        """Take in a ready task that is (or is about to be) in the store; one behind the edge is left to the store."""
        if self._edge is not None and (task.lane, task.rank) > self._edge:
            return
        self._add(task)
        if len(self._tasks) > 2 * self._limit or self._bytes > 2 * self._max_bytes:
            self._shrink()

    def filled(self, rows: list[ReadyTask], *, everything: bool, elsewhere: Container[str]) -> None:
        """Take in what the store had behind the edge.

        everything: it had no more than these rows. elsewhere: tasks of which the store says `available` still.
        """
        for row in rows:
            if row.id not in elsewhere and row.id not in self._tasks:
                self._add(row)
        if everything:
            self._edge = None
        elif rows:
            self._edge = (rows[-1].lane, rows[-1].rank)

    def peek(self) -> ReadyTask | None:
        """Return the task that is next, and leave it."""
        while self._heap:
            task = self._tasks.get(self._heap[0][2])
            if task is not None and (task.lane, task.rank) == self._heap[0][:2]:
                return task
            heapq.heappop(self._heap)
        return None

    def pop(self) -> ReadyTask | None:
        """Take out the task that is next."""
        task = self.peek()
        if task is not None:
            heapq.heappop(self._heap)
            del self._tasks[task.id]
            self._bytes -= len(task.context)
        return task

    def discard(self, task_ids: Iterable[str]) -> None:
        """Forget these tasks; those that are not in memory are no error."""
        for task_id in task_ids:
            task = self._tasks.pop(task_id, None)
            if task is not None:
                self._bytes -= len(task.context)

    def _add(self, task: ReadyTask) -> None:
        self.discard((task.id,))
        heapq.heappush(self._heap, (task.lane, task.rank, task.id))
        self._tasks[task.id] = task
        self._bytes += len(task.context)

    def _shrink(self) -> None:
        """Leave the tail to the store again, so that what is kept is at most the limit."""
        kept: list[tuple[int, int, str]] = []
        size = 0
        for key in sorted(set(self._heap)):
            task = self._tasks.get(key[2])
            if task is None or (task.lane, task.rank) != key[:2]:
                continue
            if kept and (len(kept) >= self._limit or size + len(task.context) > self._max_bytes):
                break
            kept.append(key)
            size += len(task.context)
        self._tasks = {key[2]: self._tasks[key[2]] for key in kept}
        self._heap = kept
        self._bytes = size
        self._edge = kept[-1][:2]
