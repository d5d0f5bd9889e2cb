"""Submit tasks by messages, exactly once each, through changes of settings and deaths of queues and servers."""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from callboard.actors.answers import read_task
from callboard.actors.caller import QueueCaller, SettingsChanged
from callboard.actors.connection import Connection
from callboard.actors.errors import (
    CallboardError,
    InvalidOption,
    RequestRefused,
    RequestTimedOut,
    ServerNotRunning,
    StoreUnavailable,
)
from callboard.actors.messages import Outcome, QueueFound, Submission, Verdict
from callboard.actors.options import MAX_MILLISECONDS, Backoff, BackoffStrategy, parse_priority
from callboard.actors.request import TaskRequest, milliseconds
from callboard.actors.request_values import read_backoff, read_moment
from callboard.actors.submitting import context_text, new_task, resolve_type, task_shown
from callboard.actors.task import NewTask, Task, parse_time

MAX_FACTOR: Final = 100
PART_TASKS: Final = 10_000
PART_BYTES: Final = 1_000_000
"""No more goes into one message, unless one task alone is larger: the Queue stands still while it reads one."""

OWN_KEYS: Final = "\x1f"
"""What our keys begin with in the store. Those of HTTP, which are there too, have printable characters only."""


@dataclass(slots=True)
class Part:
    """Tasks of one queue that are stored in one transaction; `places` are their positions in the whole.

    key, fingerprint: of the whole request ("" for none), so that the same key with another request is found out.
    """

    queue: str
    places: list[int]
    wanted: list[TaskRequest]
    key: str
    fingerprint: str
    submission: Submission | None = None

    def build(self, found: QueueFound, created_by: str) -> tuple[NewTask, ...]:
        """Return the tasks with their queue's defaults. Raises `InvalidOption`."""
        now = time.time_ns() // 1_000
        return tuple(build_task(one, found, created_by, now) for one in self.wanted)


def cut(wanted: Sequence[TaskRequest], key: str) -> Iterator[Part]:
    """Put the tasks of each queue together, in their order, in parts that go into one message."""
    # Before the fingerprint, which can only be taken of what is JSON.
    lengths = [len(context_text(None if one.context is None else dict(one.context))) for one in wanted]
    fingerprint = _fingerprint(wanted) if key else ""
    by_queue: defaultdict[str, list[Part]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for place, (one, size) in enumerate(zip(wanted, lengths, strict=True)):
        parts = by_queue[one.queue]
        full = bool(parts) and (len(parts[-1].wanted) == PART_TASKS or sizes[one.queue] + size > PART_BYTES)
        if not parts or full:
            parts.append(Part(one.queue, [], [], f"{OWN_KEYS}{key}-{len(parts)}" if key else "", fingerprint))
            sizes[one.queue] = 0
        parts[-1].places.append(place)
        parts[-1].wanted.append(one)
        sizes[one.queue] += size
    for parts in by_queue.values():
        yield from parts


def _fingerprint(wanted: Sequence[TaskRequest]) -> str:
    canonical = json.dumps([one.to_body() for one in wanted], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def submit(part: Part, connection: Connection, created_by: str) -> list[Task]:
    """Have a part stored and return its tasks; those of the first time when its key was used before.

    Raises `InvalidOption`, `RequestRefused`, `ServerNotRunning`, or `RequestTimedOut` (then it may be stored later).
    """

    def ask(caller: QueueCaller, left: float) -> Verdict:
        until = time.monotonic() + left
        while True:
            found = caller.find(part.queue, until - time.monotonic())
            if part.submission is None:
                part.submission = Submission(part.build(found, created_by), part.key, part.fingerprint)
            try:
                return _sent(part, found, caller, until - time.monotonic())
            except SettingsChanged:
                # Once it may have been stored, its ids must stay what they are.
                if not part.submission.resent:
                    part.submission = None

    try:
        verdict, _ = connection.ask(ask)
    except (RequestTimedOut, ServerNotRunning):
        if part.submission is None or not _is_stored(connection, part.submission):
            raise
        verdict = Verdict(Outcome.ACCEPTED)
    return _judged(part, verdict, connection)


def _judged(part: Part, verdict: Verdict, connection: Connection) -> list[Task]:
    """Return the tasks that a verdict stands for, or raise what it says."""
    assert part.submission is not None
    shown = [task_shown(task, part.queue) for task in part.submission.tasks]
    if verdict.outcome is Outcome.ACCEPTED:
        return [read_task(one) for one in shown]
    if verdict.outcome is Outcome.REPLAYED:
        return _first_tasks(connection, shown, verdict.ids)
    if verdict.outcome is Outcome.CONFLICT:
        raise RequestRefused("key_conflict", verdict.detail or "this idempotency key was used by another request")
    raise RequestRefused("full", verdict.detail or f"queue {part.queue!r} is full")


def _sent(part: Part, found: QueueFound, caller: QueueCaller, left: float) -> Verdict:
    """Send the part's submission once, and remember if it may have been stored without our being told."""
    assert part.submission is not None
    verdict = caller.submit(found, (part.submission,), left)[0]
    if isinstance(verdict, RequestTimedOut):
        part.submission = part.submission._replace(resent=True)
    if isinstance(verdict, CallboardError):
        raise verdict
    return verdict


def _is_stored(connection: Connection, submission: Submission) -> bool:
    ids = [task.id for task in submission.tasks]
    try:
        return len(connection.store.get_many(ids)) == len(ids)
    except StoreUnavailable:
        return False


def build_task(wanted: TaskRequest, found: QueueFound, created_by: str, now: int) -> NewTask:
    """Return the task that is asked for. Raises `InvalidOption` that names the option."""
    type_ = resolve_type(found.settings, wanted.type, found.queue)
    settings = found.settings.of_type(type_)
    return new_task(
        found.queue,
        settings,
        type=type_,
        context_json=context_text(None if wanted.context is None else dict(wanted.context)),
        priority=_priority(wanted.priority),
        max_retries=wanted.retries,
        backoff=_backoff(wanted, settings.backoff.to_backoff()),
        timeout_ms=None if wanted.timeout is None else milliseconds(wanted.timeout, "timeout"),
        run_at=_run_at(wanted, now),
        created_by=created_by,
        now=now,
    )


def read_changes(body: dict[str, Any], now: int) -> tuple[int | None, int | None, str]:
    """Return the priority, the time and the queue that a body of `changes_body` asks for. Raises `InvalidOption`."""
    run_at = None
    if "delay_ms" in body:
        run_at = now + 1_000 * body["delay_ms"]
    elif "run_at" in body:
        run_at = max(parse_time(body["run_at"]), 0)
    return _priority(body.get("priority")), run_at, body.get("queue", "")


def _first_tasks(connection: Connection, shown: list[dict[str, Any]], ids: Sequence[str]) -> list[Task]:
    """Return the tasks of the first submission under a key; one that is gone, as it was when it was accepted."""
    there = {task.id: task for task in connection.store.get_many(ids)}
    return [there.get(first) or read_task(one | {"id": first}) for one, first in zip(shown, ids, strict=True)]


def _priority(priority: str | int | None) -> int | None:
    try:
        return None if priority is None else parse_priority(priority)
    except InvalidOption as error:
        raise InvalidOption(str(error), field="priority") from None


def _backoff(wanted: TaskRequest, default: Backoff) -> Backoff | None:
    given = read_backoff(wanted.backoff)
    base_ms = wanted.backoff_ms
    if base_ms is not None:
        given = {"base_ms": base_ms}
    if given is None:
        return None
    if "strategy" in given:
        given["strategy"] = BackoffStrategy(given["strategy"])
    chosen = replace(default, **given)
    for name, value in (("base_ms", chosen.base_ms), ("cap_ms", chosen.cap_ms)):
        if not 0 <= value <= MAX_MILLISECONDS:
            field = "backoff_ms" if base_ms is not None and name == "base_ms" else f"backoff.{name}"
            raise InvalidOption(
                "must be greater than or equal to 0" if value < 0 else "is longer than a hundred years", field=field
            )
    if not (1 <= chosen.factor <= MAX_FACTOR and 0 <= chosen.jitter <= 1):
        raise InvalidOption(f"takes a factor from 1 to {MAX_FACTOR} and a jitter from 0 to 1", field="backoff")
    return chosen


def _run_at(wanted: TaskRequest, now: int) -> int:
    """Return when the task may begin, 0 for at once."""
    if wanted.delay is not None:
        delay = milliseconds(wanted.delay, "delay")
        return now + 1_000 * delay if delay else 0
    moment = read_moment(wanted.run_at)
    if moment is None:
        return 0
    run_at = round(moment.timestamp() * 1_000_000)
    return run_at if run_at > now else 0
