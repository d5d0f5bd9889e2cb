"""Makes tasks for tests of the core: as they are submitted, and as an owner holds them."""

import json
import uuid

from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.store import ReadyTask
from callboard.actors.task import NewTask


def backoff_text(backoff: Backoff) -> str:
    """Write a backoff as a task carries it."""
    return json.dumps(backoff.to_json())


NO_BACKOFF = backoff_text(Backoff(BackoffStrategy.NONE))
ONE_SECOND = backoff_text(Backoff())
WALL = 1_800_000_000_000_000
"""Where the tests' clocks start, in microseconds since the epoch."""


def new_task(task_id: str = "", **values: object) -> NewTask:
    return NewTask(
        id=task_id or str(uuid.uuid4()),
        type="work",
        context="{}",
        priority=0,
        max_retries=3,
        backoff=ONE_SECOND,
        timeout_ms=60_000,
        run_at=0,
        created_at=WALL,
        created_by="tests",
        meta="{}",
    )._replace(**values)  # type: ignore[arg-type]


def ready_task(task_id: str = "t", **values: object) -> ReadyTask:
    return ReadyTask(
        id=task_id,
        type="work",
        context="{}",
        priority=0,
        lane=0,
        rank=1,
        attempt=0,
        failures=0,
        interruptions=0,
        max_retries=3,
        backoff=ONE_SECOND,
        timeout_ms=60_000,
        state="available",
        hand_out=0,
    )._replace(**values)  # type: ignore[arg-type]
