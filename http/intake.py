"""Take tasks in: give them their queue's defaults, have the owners store them, and say what became of them."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from callboard.actors.caller import SettingsChanged
from callboard.actors.errors import RequestRefused
from callboard.actors.messages import Outcome, QueueFound, RefusalReason, Submission, Verdict
from callboard.http.building import Part, Wrong, WrongQueue
from callboard.http.edge import Edge
from callboard.http.problems import Errors, Invalid, NoSuchQueue, Problem, json_text, problem_of
from callboard.http.schemas import TaskRequest

TASK_BYTES: Final = 400
"""About what a task weighs in a message, without its context."""
MAX_KEY: Final = 255


class Key(NamedTuple):
    """An Idempotency-Key ("" for none) and what the request says that it came with."""

    text: str = ""
    fingerprint: str = ""


NO_KEY: Final = Key()


class Taken(NamedTuple):
    """What became of one queue's part of a request: its tasks' ids and the tasks as JSON texts, or the error."""

    ids: Sequence[str]
    texts: Sequence[str]
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
    """Have one task stored. Raises a `Problem` if it was not: `NoSuchQueue`, which is forgotten by then, for one."""
    try:
        part = edge.forms.build(await _find(edge, wanted.queue), (wanted,))
    except Wrong as wrong:
        raise _invalid(wrong) from None
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
    parts: list[Part] = []
    errors: Errors = {}
    for queue, indices in places.items():
        chosen = [wanted[index] for index in indices]
        try:
            found = await _find(edge, queue, len(chosen))
            parts.append(await edge.compute(len(chosen), edge.forms.build, found, chosen))
        except Wrong as wrong:
            errors |= {str(indices[position]): what for position, what in wrong.errors.items()}
    if errors:
        raise Invalid({"tasks": errors})
    if len(parts) == 1:  # by far the most: without a task of the loop's for each
        taken = [await _store_or_say(edge, parts[0], key)]
    else:
        taken = await asyncio.gather(*(_store_or_say(edge, part, key) for part in parts))
    return _joined(list(places.values()), taken, len(wanted))


async def _find(edge: Edge, queue: str, tasks: int = 1) -> QueueFound:
    """Return the queue of so many tasks of a request. Raises `Wrong` for all of them when there is none."""
    try:
        return await edge.gateway.find(queue)
    except RequestRefused as refusal:
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            raise
        # The Registry's words: they name the nearest queue.
        raise WrongQueue({position: {"queue": [refusal.detail]} for position in range(tasks)}) from None


async def _store(edge: Edge, part: Part, key: Key) -> Taken:
    """Have one queue's part stored in one transaction."""
    try:
        part, verdict = await _submit(edge, part, key)
    except Wrong as wrong:
        return Taken((), (), problem=_invalid(wrong))
    if verdict.outcome is Outcome.ACCEPTED:
        return Taken([task.id for task in part.tasks], await edge.compute(len(part.tasks), part.texts))
    if verdict.outcome is Outcome.REPLAYED:
        return Taken(verdict.ids, await _first_tasks(edge, part, verdict), replayed=True)
    if verdict.outcome is Outcome.CONFLICT:
        detail = verdict.detail or "This Idempotency-Key was used by another request."
        return Taken((), (), problem=Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind="key-conflict"))
    detail = verdict.detail or f"Queue {part.found.queue!r} is full."
    return Taken((), (), problem=Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, kind="queue-full"))


async def _submit(edge: Edge, part: Part, key: Key) -> tuple[Part, Verdict]:
    """Have a part stored; built anew when the queue's settings have just changed. Raises `Wrong`."""
    while True:
        size = sum([len(task.context) + TASK_BYTES for task in part.tasks])
        try:
            return part, await edge.gateway.submit(part.found, Submission(part.tasks, key.text, key.fingerprint), size)
        except SettingsChanged as change:
            part = edge.forms.build(change.found, part.wanted)
        except RequestRefused as refusal:
            if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
                raise
            # It was there when the tasks were built: it has just been deleted.
            raise WrongQueue({0: {"queue": [refusal.detail]}}) from None


def _invalid(wrong: Wrong) -> Invalid:
    """Return the problem of a part's first wrong task."""
    errors = next(iter(wrong.errors.values()))
    return NoSuchQueue(errors) if isinstance(wrong, WrongQueue) else Invalid(errors)


async def _store_or_say(edge: Edge, part: Part, key: Key) -> Taken:
    try:
        return await _store(edge, part, key)
    except Exception as error:  # noqa: BLE001 - the other parts may have been stored, and the client has to know
        return Taken((), (), problem=problem_of(error))


async def _first_tasks(edge: Edge, part: Part, verdict: Verdict) -> list[str]:
    """Return the tasks that the first request under this key got; one that is gone, as that request was answered."""
    there = {task.id: task for task in await edge.read(edge.store.get_many, verdict.ids)}
    return [
        json_text(there[first].to_json()) if first in there else form.text(first, task.context)
        for first, form, task in zip(verdict.ids, part.forms, part.tasks, strict=True)
    ]


def _joined(places: Sequence[Sequence[int]], taken: Sequence[Taken], total: int) -> Taken:
    """Put the queues' parts together in the request's order. Raises a `Problem` unless all were stored."""
    if len(taken) == 1 and taken[0].problem is None:
        return taken[0]
    ids, texts = [""] * total, [""] * total
    for indices, part in zip(places, taken, strict=True):
        for index, task_id, text in zip(indices, part.ids, part.texts, strict=False):
            ids[index], texts[index] = task_id, text
    problems = [part.problem for part in taken if part.problem is not None]
    if not problems:
        return Taken(ids, texts, replayed=all(part.replayed for part in taken) and total > 0)
    stored = [{"index": index, "id": task_id} for index, task_id in enumerate(ids) if task_id]
    extra = {"stored": stored, "not_stored": [index for index, task_id in enumerate(ids) if not task_id]}
    first = problems[0]
    if stored and first.status is not HTTPStatus.UNPROCESSABLE_ENTITY:
        status, kind = HTTPStatus.SERVICE_UNAVAILABLE, "partly-stored"
    else:
        status, kind = first.status, first.kind
    detail = f"{len(stored)} of {total} tasks were stored. {first.detail}"
    if stored or first.status is HTTPStatus.SERVICE_UNAVAILABLE:
        detail += " The same request with the same Idempotency-Key completes it."
    raise Problem(status, detail, kind=kind, errors=first.errors, extra=extra)
