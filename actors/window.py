"""The bounded part of a queue's ready tasks that its owner holds in memory.

Everything up to the *edge* (a key of the order) is in memory or handed out; what lies behind it is only in the store and
is read through one index when the window runs low. So memory does not grow with the backlog.
"""

from bisect import bisect, insort
from collections import deque
from collections.abc import Container, Iterable, Iterator
from operator import attrgetter

from callboard.actors.store import ReadyTask
from callboard.actors.suspicion import ALONE

Key = tuple[int, int]
"""(lane, rank): smaller runs first. Unique within a queue, but that with aging two tasks may share one by chance."""

WINDOW_TASKS = 4_096
WINDOW_BYTES = 8 * 1024 * 1024
_START: Key = (-(2**63), 0)
_rank = attrgetter("rank")


def _place(task: ReadyTask) -> Key:
    return task.lane, task.rank


class Window:
    """The first ready tasks of a queue, in order.

    limit: tasks it is filled up to; max_bytes: the same for their contexts. It may hold twice as much: for a moment, or
    because those that must run alone come on top.
    """

    def __init__(self, limit: int = WINDOW_TASKS, max_bytes: int = WINDOW_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        # A line of tasks a lane: nearly all come in the order of their ranks, so this beats a heap several times.
        self._lines: dict[int, deque[ReadyTask]] = {}
        self._lanes: list[int] = []
        self._tasks: dict[str, ReadyTask] = {}
        self._alone: list[ReadyTask] = []
        """Those that must have a process to themselves, in order; like the lines it may name some that are gone."""
        self._alone_count = self._alone_bytes = 0
        """What of the window is theirs: they may wait for long, and must not keep the others out meanwhile."""
        self._bytes = 0
        self._gone = 0
        """So many in the lines, at most, are not to be had any more."""
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
        tasks, size = len(self._tasks), self._bytes
        low = tasks - self._alone_count < self._limit // 4 and size - self._alone_bytes < self._max_bytes // 4
        return self._edge is not None and low and tasks < 2 * self._limit and size < 2 * self._max_bytes

    def room(self) -> tuple[int, int]:
        """Return how many tasks and bytes of context the next read should ask for."""
        tasks = self._limit + min(self._alone_count, self._limit)
        size = self._max_bytes + min(self._alone_bytes, self._max_bytes)
        return tasks - len(self._tasks), max(size - self._bytes, 1)

    def push(self, task: ReadyTask) -> None:
        """Take in a ready task that is (or is about to be) in the store; one behind the edge is left to the store."""
        if self._edge is not None and (task.lane, task.rank) > self._edge:
            return
        self._add(task)
        if len(self._tasks) > 2 * self._limit or self._bytes > 2 * self._max_bytes:
            self._shrink()

    def push_new(self, tasks: Iterable[ReadyTask], *, elsewhere: Container[str]) -> list[str]:
        """Take in those tasks that are neither in memory nor `elsewhere`, and return their ids."""
        taken = []
        for task in tasks:
            if task.id not in self._tasks and task.id not in elsewhere:
                taken.append(task.id)
                self.push(task)
        return taken

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
        while self._lanes:
            line = self._lines[self._lanes[0]]
            while line:
                task = line[0]
                if self._tasks.get(task.id) is task:
                    return task
                line.popleft()
            del self._lines[self._lanes.pop(0)]
        return None

    def take(self, task: ReadyTask) -> None:
        """Take out the task that `peek` has just returned."""
        self._lines[task.lane].popleft()
        del self._tasks[task.id]
        self._bytes -= len(task.context)

    @property
    def alone(self) -> int:
        """Return how many tasks wait for a process to themselves."""
        return self._alone_count

    def peek_alone(self) -> ReadyTask | None:
        """Return the next task that must have a process to itself, and leave it: `peek` returns none of these."""
        while self._alone:
            if self._tasks.get(self._alone[0].id) is self._alone[0]:
                return self._alone[0]
            self._alone.pop(0)
        return None

    def take_alone(self, task: ReadyTask) -> None:
        """Take out the task that `peek_alone` has just returned."""
        self._alone.pop(0)
        del self._tasks[task.id]
        self._weigh(task, -1)

    def discard(self, task_ids: Iterable[str]) -> None:
        """Forget these tasks; those that are not in memory are no error."""
        for task_id in task_ids:
            task = self._tasks.pop(task_id, None)
            if task is not None:
                self._weigh(task, -1)
                self._gone += 1
        if self._gone > self._limit:
            # Where nothing is handed out, tasks that come and are cancelled would pile up behind the first.
            self._rebuild(list(self._in_order()))

    def forget_all(self) -> None:
        """Forget all tasks, and read them from the store again: their places have been changed there."""
        self._rebuild([])
        self._edge = _START

    def _add(self, task: ReadyTask) -> None:
        if task.id in self._tasks:
            self.discard((task.id,))
        self._tasks[task.id] = task
        self._weigh(task, 1)
        if task.interruptions >= ALONE:
            insort(self._alone, task, key=_place)
            return
        line = self._lines.get(task.lane)
        if line is None:
            self._lines[task.lane] = deque((task,))
            insort(self._lanes, task.lane)
        elif not line or task.rank >= line[-1].rank:
            line.append(task)
        elif task.rank <= line[0].rank:
            line.appendleft(task)
        else:
            line.insert(bisect(line, task.rank, key=_rank), task)

    def _weigh(self, task: ReadyTask, sign: int) -> None:
        """Count a task that has come (1) or gone (-1)."""
        size = sign * len(task.context)
        self._bytes += size
        if task.interruptions >= ALONE:
            self._alone_count += sign
            self._alone_bytes += size

    def _in_order(self) -> Iterator[ReadyTask]:
        if self._alone:
            yield from sorted(self._tasks.values(), key=_place)
            return
        for lane in self._lanes:
            for task in self._lines[lane]:
                if self._tasks.get(task.id) is task:
                    yield task

    def _shrink(self) -> None:
        """Leave the tail to the store again, so that what is kept is about the limit at most."""
        kept: list[ReadyTask] = []
        size = 0
        for task in self._in_order():
            full = len(kept) >= self._limit or size + len(task.context) > self._max_bytes
            # Those that share a key stay together: what is left to the store is read from behind the last key.
            if kept and full and _place(task) != _place(kept[-1]):
                break
            kept.append(task)
            size += len(task.context)
        self._rebuild(kept)
        self._edge = (kept[-1].lane, kept[-1].rank)

    def _rebuild(self, tasks: list[ReadyTask]) -> None:
        self._lines, self._lanes, self._tasks, self._bytes, self._gone, self._alone = {}, [], {}, 0, 0, []
        self._alone_count = self._alone_bytes = 0
        for task in tasks:
            self._add(task)
