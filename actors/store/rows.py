"""How stored rows become what people see."""

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.store import QueueRow
from callboard.actors.store.schema import COUNTED, queues, tasks
from callboard.actors.task import Task, TaskState

TASK_COLUMNS = tuple(
    tasks.c[name]
    for name in (
        *("id", "queue", "type", "state", "priority", "context", "attempt", "max_retries", "backoff", "timeout_ms"),
        *("run_at", "created_at", "created_by", "started_at", "finished_at", "errors", "result", "meta", "logs", "launched"),
    )
)
"""The columns that `task_of` reads, in the order of `Task`'s fields; what was launched is shown in `meta`."""


QUEUE_COLUMNS = tuple(queues.c[field.name] for field in fields(QueueRow))


def queue_row(row: Sequence[Any]) -> QueueRow:
    """Make a queue's definition of a row of `QUEUE_COLUMNS`."""
    name, settings, configured, paused, created_at, settings_version = row
    return QueueRow(name, settings, configured, bool(paused), created_at, settings_version)


def task_of(row: Sequence[Any]) -> Task:
    """Make a task of a row of `TASK_COLUMNS`. A task that was wanted at once was due when it was made."""
    # fmt: off
    (task_id, queue, task_type, state, priority, context, attempt, max_retries, backoff, timeout_ms,
     run_at, created_at, created_by, started_at, finished_at, errors, result, meta, logs, launched) = row
    # fmt: on
    return Task(
        id=task_id,
        queue=queue,
        type=task_type,
        state=TaskState(COUNTED[state]),
        priority=priority,
        context=json.loads(context),
        attempt=attempt,
        max_retries=max_retries,
        backoff=_backoff(backoff),
        timeout_ms=timeout_ms,
        run_at=run_at or created_at,
        created_at=created_at,
        created_by=created_by,
        started_at=started_at,
        finished_at=finished_at,
        errors=json.loads(errors) if errors else [],
        result=None if result is None else json.loads(result),
        meta=(json.loads(meta) if meta else {}) | ({} if launched is None else {"launched": launched}),
        logs=json.loads(logs) if logs else [],
    )


@lru_cache(maxsize=256)  # nearly all tasks share a few
def _backoff(text: str) -> Backoff:
    stored = json.loads(text)
    return Backoff(**{**stored, "strategy": BackoffStrategy(stored.get("strategy", BackoffStrategy.FIXED))})
