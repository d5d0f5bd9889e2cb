"""Makes the values that tests of the store hand to it."""

import json
from collections.abc import Sequence
from pathlib import Path

from callboard.actors.options import Backoff
from callboard.actors.store import Change, Completion, Insert, QueueStore, ReadyTask, TaskUpdate
from callboard.actors.task import NewTask, TaskState

NOW = 1_800_000_000_000_000
DAY = 24 * 3600 * 1_000_000
QUEUE = "mail"


def task_id(number: int) -> str:
    """Ids rise with the number, as UUIDv7 do with time."""
    return f"01900000-0000-7000-8000-{number:012d}"


def new_task(number: int, **values: object) -> NewTask:
    return NewTask(
        id=task_id(number),
        type="send",
        context=json.dumps({"number": number}),
        priority=0,
        max_retries=3,
        backoff=json.dumps(Backoff().to_json()),
        timeout_ms=60_000,
        run_at=0,
        created_at=NOW + number,
        created_by="tests",
        meta="{}",
    )._replace(**values)  # type: ignore[arg-type]


def insert(number: int, state: str = "available", *, lane: int = 0, rank: int | None = None, **values: object) -> Insert:
    rank = NOW + number if rank is None else rank
    begun = (1, NOW) if state == TaskState.EXECUTING else (0, None)
    return Insert(new_task(number, **values), state, lane, rank, *begun)


def completion(number: int, was: str = "available", result: str = "null", at: int = NOW) -> Completion:
    return Completion(task_id(number), was, 1, at - 1_000, at, result, 1)


def update(task: ReadyTask, state: str, **values: object) -> TaskUpdate:
    """Move a task to a state as the Queue would: ended ones have finished, executing ones have begun."""
    ended = state in {"completed", "dead", "cancelled"}
    return TaskUpdate(
        id=task.id,
        was=task.state,
        state=state,
        lane=task.lane,
        rank=task.rank,
        priority=task.priority,
        run_at=None,
        attempt=task.attempt,
        failures=task.failures,
        interruptions=task.interruptions,
        started_at=NOW if state == "executing" else None,
        finished_at=NOW if ended else None,
        result=None,
        hand_out=task.hand_out,
    )._replace(**values)  # type: ignore[arg-type]


def put(owner: QueueStore, *inserts: Insert) -> None:
    with owner.transaction() as transaction:
        transaction.apply(Change(inserts=list(inserts)))


def move(owner: QueueStore, numbers: Sequence[int], state: str, **values: object) -> None:
    """Move stored tasks, whatever their state, to another."""
    stored = owner.load([task_id(number) for number in numbers])
    with owner.transaction() as transaction:
        transaction.apply(Change(updates=[update(task, state, **values) for task in stored]))


def numbers(ids: Sequence[str]) -> list[int]:
    return [int(one.rpartition("-")[2]) for one in ids]


def url(path: Path) -> str:
    return f"sqlite:///{path}"
