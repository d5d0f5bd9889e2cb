"""Between the edge and a Queue: the queue as a whole."""

from dataclasses import dataclass

from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings


@dataclass(frozen=True)
class PauseQueue:
    """Begin nothing more until resumed; survives a restart."""

    request_id: str
    queue: str
    incarnation: int


@dataclass(frozen=True)
class ResumeQueue:
    """End a pause or a drain."""

    request_id: str
    queue: str
    incarnation: int


@dataclass(frozen=True)
class DrainQueue:
    """Accept nothing more, work off what is there; until resumed or restarted."""

    request_id: str
    queue: str
    incarnation: int


@dataclass(frozen=True)
class ScaleQueue:
    """Change the concurrency; survives a restart."""

    request_id: str
    queue: str
    incarnation: int
    concurrency: int


@dataclass(frozen=True)
class DescribeQueue:
    """Ask for everything about a queue."""

    request_id: str
    queue: str
    incarnation: int


@dataclass(frozen=True)
class WorkerStatus:
    """One worker. `state`: starting, idle, busy, stopping. Ages in milliseconds, memory (RSS) in bytes.

    task: of several that run, the one that was handed out first.
    """

    name: str
    pid: int
    state: str
    task: str | None
    task_age_ms: int | None
    memory: int | None
    tasks_done: int
    running: int = 0
    launched: int | None = None
    """The process that its task has left running, and waits for."""


@dataclass(frozen=True)
class QueueStatus:
    """A queue as its owner sees it. Rates are tasks a second over the last minute."""

    name: str
    pid: int
    incarnation: int
    state: str
    """running, paused, draining or degraded"""
    why: str
    counts: dict[TaskState, int]
    settings: QueueSettings
    workers: tuple[WorkerStatus, ...]
    submitted_rate: float
    completed_rate: float
    failed_rate: float
    oldest_age_ms: int | None
    """Age of the task that has been available longest."""
    running: int
    utilisation: float
    """Part of the concurrency that was busy over the last minute, 0..1."""
    leased: int = 0
    """Tasks that consumers have fetched and not settled."""


@dataclass(frozen=True)
class QueueDescribed:
    """The answer to all questions and commands about a queue as a whole."""

    request_id: str
    status: QueueStatus
