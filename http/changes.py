"""Retry and cancel tasks, one or many, each through the owner of its queue."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from callboard.actors.messages import CancelTasks, EditTask, QueueFound, RetryTasks, TasksChanged
from callboard.actors.store import TaskFilter
from callboard.actors.task import Task, TaskState
from callboard.http.edge import Edge
from callboard.http.problems import NotFound, Problem

CHUNK: Final = 1_000
"""So many ids go into one message."""


@dataclass(frozen=True)
class Change:
    """One kind of change. settled: the states in which a task is once it has been changed; possible: what it takes."""

    request: Callable[[str, QueueFound, tuple[str, ...]], object]
    settled: frozenset[TaskState]
    possible: str


def retry(*, keep_attempts: bool) -> Change:
    """Put ended tasks back, with a fresh budget or with the old count."""

    def request(request_id: str, found: QueueFound, ids: tuple[str, ...]) -> RetryTasks:
        return RetryTasks(request_id, found.queue, found.incarnation, ids, keep_attempts)

    settled = frozenset({TaskState.AVAILABLE, TaskState.EXECUTING, TaskState.RETRYABLE})
    return Change(request, settled, "Only a completed, dead or cancelled task can be retried.")


def cancel() -> Change:
    """Cancel tasks that have not ended."""

    def request(request_id: str, found: QueueFound, ids: tuple[str, ...]) -> CancelTasks:
        return CancelTasks(request_id, found.queue, found.incarnation, ids)

    return Change(request, frozenset({TaskState.CANCELLED}), "A task that has ended can't be cancelled.")


def edit(*, priority: int | None, run_at: int | None, to_queue: str) -> Change:
    """Change what waits; see `EditTask`."""

    def request(request_id: str, found: QueueFound, ids: tuple[str, ...]) -> EditTask:
        return EditTask(request_id, found.queue, found.incarnation, ids[0], priority, run_at, to_queue)

    # Nothing is settled by a state: whoever is asked a second time does it a second time.
    return Change(request, frozenset(), "Only a task that waits can be changed.")


async def change_one(edge: Edge, task: Task, change: Change) -> Task:
    """Change this task and return it as it is now. Raises a `Problem` (409 with its state, 404)."""
    changed, unchanged = await _ask(edge, task.queue, (task.id,), change)
    if task.id not in changed:
        state = unchanged.get(task.id, "")
        if not state:
            now = await edge.read(edge.store.get, task.id)
            if now is not None and now.queue != task.queue:  # somebody has just moved it
                return await change_one(edge, now, change)
            raise NotFound(f"task {task.id}")
        detail = f"Task {task.id} is {state}. {change.possible}"
        raise Problem(HTTPStatus.CONFLICT, detail, kind="wrong-state", extra={"state": state})
    return await edge.read(edge.store.get, task.id) or task


async def change_ids(edge: Edge, ids: Sequence[str], change: Change) -> dict[str, int]:
    """Change those of these tasks that exist; return how many these were and how many were changed."""
    tasks = await edge.read(edge.store.get_many, list(dict.fromkeys(ids)))
    return await _change(edge, [(task.queue, task.id) for task in tasks], change)


async def change_matching(edge: Edge, chosen: TaskFilter, change: Change) -> dict[str, int]:
    """Change all tasks that match, chunk by chunk; return how many matched and how many were changed."""
    total = {"matched": 0, "changed": 0}
    async for found in matching(edge, chosen):
        for name, number in (await _change(edge, found, change)).items():
            total[name] += number
    return total


async def matching(edge: Edge, chosen: TaskFilter) -> AsyncIterator[list[tuple[str, str]]]:
    """Yield (queue, id) of all tasks that match, in chunks, newest first."""
    before: str | None = None
    while found := await edge.read(edge.store.matching_ids, chosen, CHUNK, before):
        yield found
        before = found[-1][1]


def by_queue(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group ids by the queue that owns them."""
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for queue, task_id in found:
        grouped[queue].append(task_id)
    return dict(grouped)


async def _change(edge: Edge, found: Sequence[tuple[str, str]], change: Change) -> dict[str, int]:
    messages = [
        _ask(edge, queue, tuple(ids[start : start + CHUNK]), change)
        for queue, ids in by_queue(found).items()
        for start in range(0, len(ids), CHUNK)
    ]
    answers = await asyncio.gather(*messages)
    return {"matched": len(found), "changed": sum(len(changed) for changed, _ in answers)}


async def _ask(edge: Edge, queue: str, ids: tuple[str, ...], change: Change) -> tuple[set[str], dict[str, Any]]:
    reply, unsure = await edge.gateway.ask_queue(
        queue, lambda request_id, found: change.request(request_id, found, ids), TasksChanged
    )
    changed = set(reply.changed)
    if unsure:
        # An owner that has died meanwhile may have done it: what is as it should be counts as changed.
        changed |= {task_id for task_id, state in reply.unchanged.items() if state in change.settled}
    return changed, reply.unchanged
