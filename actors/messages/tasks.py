"""Between the edge and a Queue: tasks that are there already."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryTasks:
    """Put dead, cancelled or completed tasks back with a fresh budget."""

    request_id: str
    queue: str
    incarnation: int
    ids: tuple[str, ...]
    keep_attempts: bool = False


@dataclass(frozen=True)
class CancelTasks:
    """Cancel waiting tasks at once and kill running ones."""

    request_id: str
    queue: str
    incarnation: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class EditTask:
    """Change a task that waits; None and "" leave things as they are. run_at: in microseconds; past: as soon as it can."""

    request_id: str
    queue: str
    incarnation: int
    task_id: str
    priority: int | None = None
    run_at: int | None = None
    to_queue: str = ""


@dataclass(frozen=True)
class TasksChanged:
    """Which tasks were changed, and the state that kept each of the others from it ("" for an unknown id)."""

    request_id: str
    changed: tuple[str, ...]
    unchanged: dict[str, str]


@dataclass(frozen=True)
class PurgeDead:
    """Delete dead tasks of this queue: these, or all."""

    request_id: str
    queue: str
    incarnation: int
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True)
class DeadPurged:
    """So many dead tasks were deleted; `more`: there may be others, ask again."""

    request_id: str
    tasks: int
    more: bool = False
