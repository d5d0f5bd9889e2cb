"""Take tasks in: give them their queue's defaults, have the owners store them, and say what became of them."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from callboard.actors.caller import SettingsChanged
from callboard.actors.errors import InvalidOption, RequestRefused
from callboard.actors.messages import Outcome, QueueFound, RefusalReason, Submission, Verdict
from callboard.actors.submitting import context_text, new_task, task_shown
from callboard.actors.task import NewTask
from callboard.http.edge import Edge
from callboard.http.problems import Errors, Invalid, Problem, problem_of
from callboard.http.schemas import NO_OPTIONS, TaskRequest, microseconds_now

CREATED_BY: Final = "http"
TASK_BYTES: Final = 400
"""About what a task weighs in a message, without its context."""
MAX_KEY: Final = 255


@dataclass(frozen=True, slots=True)
class Key:
    """An Idempotency-Key ("" for none) and what the request says that it came with."""

    text: str = ""
    fingerprint: str = ""


NO_KEY: Final = Key()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one queue's part of a request: its tasks as they are shown, or the error."""

    tasks: list[dict[str, Any]]
    replayed: bool = False
    problem: Problem | None = None


def read_key(route: str, header: str | None, body: Any) -> Key:
    """Return the request's Idempotency-Key with the fingerprint that tells another request under the same key."""
    if header is None:
        return NO_KEY
    if not (0 < len(header) <= MAX_KEY and header.isascii() and header.isprintable()):
        raise Problem(HTTPStatus.BAD_REQUEST, f"An Idempotency-Key is 1 to {MAX_KEY} printable ASCII characters.")
    canonical = json.dumps([route, body], sort_keys=True, separators=(",", ":"))
    return Key(header, hashlib.sha256(canonical.encode("ascii")).hexdigest())


async def take_one(edge: Edge, wanted: TaskRequest, key: Key) -> Taken:
    """Have one task stored. Raises a `Problem` if it was not."""
    try:
        part = _built(await _find(edge, wanted.queue), [wanted])
    except _Wrong as wrong:
        raise Invalid(wrong.errors[0]) from None
    taken = await _store(edge, part, key)
    if taken.problem is not None:
        raise taken.problem
    return taken


async def take_many(edge: Edge, wanted: Sequence[TaskRequest], key: Key) -> Taken:
    """Have all tasks stored, one transaction a queue; nothing is stored unless all are valid.

    Raises a `Problem` if not all were stored; it says which were.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(wanted):
        places[task.queue].append(index)
    parts: list[_Part] = []
    errors: Errors = {}
    for queue, indices in places.items():
        chosen = [wanted[index] for index in indices]
        try:
            found = await _find(edge, queue, len(chosen))
            parts.append(await edge.compute(len(chosen), _built, found, chosen))
        except _Wrong as wrong:
            errors |= {str(indices[position]): what for position, what in wrong.errors.items()}
    if errors:
        raise Invalid({"tasks": errors})
    taken = await asyncio.gather(*(_store_or_say(edge, part, key) for part in parts))
    return _joined(list(places.values()), taken, len(wanted))


@dataclass(frozen=True, slots=True)
class _Part:
    """A request's tasks for one queue, built with the settings in `found`."""

    found: QueueFound
    wanted: Sequence[TaskRequest]
    tasks: tuple[NewTask, ...]


class _Wrong(Exception):
    """Some of the tasks can't be built: validation errors by position."""

    def __init__(self, errors: dict[int, Errors]) -> None:
        super().__init__()
        self.errors = errors


async def _find(edge: Edge, queue: str, tasks: int = 1) -> QueueFound:
    """Return the queue of so many tasks of a request. Raises `_Wrong` for all of them when there is none."""
    try:
        return await edge.gateway.find(queue)
    except RequestRefused as refusal:
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            raise
        # The Registry's words: they name the nearest queue.
        raise _Wrong({position: {"queue": [refusal.detail]} for position in range(tasks)}) from None


def _built(found: QueueFound, wanted: Sequence[TaskRequest]) -> _Part:
    """Give each task what its queue's settings say of it. Raises `_Wrong`."""
    now = microseconds_now()
    settings, queue = found.settings, found.queue
    backoff = settings.backoff.to_backoff()
    tasks: list[NewTask] = []
    wrong: dict[int, Errors] = {}
    for position, task in enumerate(wanted):
        options = task.options or NO_OPTIONS
        try:
            tasks.append(
                new_task(
                    queue,
                    settings,
                    type=task.type,
                    context_json=context_text(task.context),
                    priority=options.priority,
                    max_retries=options.retries(),
                    backoff=options.backoff_over(backoff),
                    timeout_ms=options.timeout_ms,
                    run_at=options.due(now),
                    created_by=CREATED_BY,
                    now=now,
                )
            )
        except InvalidOption as error:
            at_top = error.field in {"type", "context"}
            problem: Errors = {error.field: [str(error)]}
            wrong[position] = problem if at_top else {"options": problem}
    if wrong:
        raise _Wrong(wrong)
    return _Part(found, wanted, tuple(tasks))


async def _store(edge: Edge, part: _Part, key: Key) -> Taken:
    """Have one queue's part stored in one transaction."""
    try:
        part, verdict = await _submit(edge, part, key)
    except _Wrong as wrong:
        return Taken([], problem=Invalid(next(iter(wrong.errors.values()))))
    if verdict.outcome is Outcome.ACCEPTED:
        return Taken(await edge.compute(len(part.tasks), _shown, part))
    if verdict.outcome is Outcome.REPLAYED:
        return Taken(await _first_tasks(edge, part, verdict), replayed=True)
    if verdict.outcome is Outcome.CONFLICT:
        detail = verdict.detail or "This Idempotency-Key was used by another request."
        return Taken([], problem=Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind="key-conflict"))
    detail = verdict.detail or f"Queue {part.found.queue!r} is full."
    return Taken([], problem=Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, kind="queue-full"))


async def _submit(edge: Edge, part: _Part, key: Key) -> tuple[_Part, Verdict]:
    """Have a part stored; built anew when the queue's settings have just changed. Raises `_Wrong`."""
    while True:
        size = sum(len(task.context) + TASK_BYTES for task in part.tasks)
        try:
            return part, await edge.gateway.submit(part.found, Submission(part.tasks, key.text, key.fingerprint), size)
        except SettingsChanged as change:
            part = _built(change.found, part.wanted)
        except RequestRefused as refusal:
            if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
                raise
            # It was there when the tasks were built: it has just been deleted.
            raise _Wrong({0: {"queue": [refusal.detail]}}) from None


async def _store_or_say(edge: Edge, part: _Part, key: Key) -> Taken:
    try:
        return await _store(edge, part, key)
    except Exception as error:  # noqa: BLE001 - the other parts may have been stored, and the client has to know
        return Taken([], problem=problem_of(error))


def _shown(part: _Part) -> list[dict[str, Any]]:
    queue = part.found.queue
    return [task_shown(task, queue, wanted.context) for task, wanted in zip(part.tasks, part.wanted, strict=True)]


async def _first_tasks(edge: Edge, part: _Part, verdict: Verdict) -> list[dict[str, Any]]:
    """Return the tasks that the first request under this key got; one that is gone, as that request was answered."""
    there = {task.id: task for task in await edge.read(edge.store.get_many, verdict.ids)}
    answered = [shown | {"id": first} for shown, first in zip(_shown(part), verdict.ids, strict=True)]
    return [there[shown["id"]].to_json() if shown["id"] in there else shown for shown in answered]


def _joined(places: Sequence[Sequence[int]], taken: Sequence[Taken], total: int) -> Taken:
    """Put the queues' parts together in the request's order. Raises a `Problem` unless all were stored."""
    tasks: list[dict[str, Any]] = [{}] * total
    for indices, part in zip(places, taken, strict=True):
        for index, task in zip(indices, part.tasks, strict=False):
            tasks[index] = task
    problems = [part.problem for part in taken if part.problem is not None]
    if not problems:
        return Taken(tasks, replayed=all(part.replayed for part in taken) and total > 0)
    stored = [{"index": index, "id": task["id"]} for index, task in enumerate(tasks) if task]
    extra = {"stored": stored, "not_stored": [index for index, task in enumerate(tasks) if not task]}
    first = problems[0]
    if stored and first.status is not HTTPStatus.UNPROCESSABLE_ENTITY:
        status, kind = HTTPStatus.SERVICE_UNAVAILABLE, "partly-stored"
    else:
        status, kind = first.status, first.kind
    detail = f"{len(stored)} of {total} tasks were stored. {first.detail}"
    if stored or first.status is HTTPStatus.SERVICE_UNAVAILABLE:
        detail += " The same request with the same Idempotency-Key completes it."
    raise Problem(status, detail, kind=kind, errors=first.errors, extra=extra)
