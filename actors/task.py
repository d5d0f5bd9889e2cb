"""What a task is, in every place that handles one: its states, its failures, and the record that people see."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from callboard.actors.options import Backoff, show_priority


class TaskState(StrEnum):
    """Where a task stands. The diagram is in the README; this says how a task gets in and out."""

    AVAILABLE = "available"
    """Ready to run, or handed to a worker that has not begun it. In: submitted, due, given back. Out: begun, cancelled."""
    SCHEDULED = "scheduled"
    """Waits for its `run_at`. In: submitted for later. Out: due → available; cancelled."""
    EXECUTING = "executing"
    """Runs in a worker. In: begun. Out: completed, retryable, dead, cancelled, or available again when interrupted."""
    RETRYABLE = "retryable"
    """Failed and waits for its backoff (`run_at`) to pass. In: a charged failure with budget left. Out: due → available."""
    COMPLETED = "completed"
    """Ended well; `result` holds the value. Out: only retried by hand."""
    DEAD = "dead"
    """Failed for good; in the dead letter. Out: only retried by hand, or purged."""
    CANCELLED = "cancelled"
    """Ended by a person. Out: only retried by hand."""


ENDED_STATES = frozenset({TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED})
WAITING_STATES = frozenset({TaskState.AVAILABLE, TaskState.SCHEDULED, TaskState.RETRYABLE})

CLAIMED = "claimed"
"""Only in the store: stored already handed out, so it is not among the rows that wait. People see `available`."""


class ErrorKind(StrEnum):
    """Why an attempt did not end well."""

    ERROR = "error"
    RETURNED = "returned"
    CRASH = "crash"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    LOST = "lost"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One attempt that did not end well. `at` is microseconds since the epoch; `exit` a signal's name or an exit code."""

    attempt: int
    at: int
    kind: ErrorKind
    message: str
    charged: bool
    traceback: str | None = None
    exit: str | int | None = None
    suspect: bool = False
    """Its process died while others ran there, too: it has still to be found out whether it is to blame."""
    logs: tuple[str, ...] = ()
    """What it logged, as far as that was kept."""

    def to_json(self) -> dict[str, Any]:
        """Return the form that the store keeps and people see, without the fields that are not set."""
        shown = {"attempt": self.attempt, "at": format_time(self.at), "kind": str(self.kind), "message": self.message}
        shown["charged"] = self.charged
        if self.suspect:
            shown["suspect"] = True
        if self.traceback is not None:
            shown["traceback"] = self.traceback
        if self.exit is not None:
            shown["exit"] = self.exit
        if self.logs:
            shown["logs"] = list(self.logs)
        return shown


class NewTask(NamedTuple):
    """A task on its way from the edge to its Queue, complete but for its place in the order.

    A NamedTuple and JSON texts because thousands of these a second are pickled. Times in microseconds since the epoch;
    `run_at` 0 means at once.
    """

    id: str
    type: str
    context: str
    """JSON object as text."""
    priority: int
    max_retries: int
    backoff: str
    """`Backoff.to_json` as text."""
    timeout_ms: int
    run_at: int
    created_at: int
    created_by: str
    meta: str
    """JSON object as text."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task as the store knows it, for people and programs to read. Times in microseconds since the epoch."""

    id: str
    queue: str
    type: str
    state: TaskState
    priority: int
    context: dict[str, Any]
    attempt: int
    max_retries: int
    backoff: Backoff
    timeout_ms: int
    run_at: int
    created_at: int
    created_by: str
    started_at: int | None = None
    finished_at: int | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    result: Any = None
    meta: dict[str, Any] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    """What the attempt that ended well has logged; those of the others stand in `errors`."""

    def to_json(self) -> dict[str, Any]:
        """Return the public form: RFC 3339 times, priority by name, `backoff_ms` beside the whole backoff."""
        # dataclasses.asdict would copy the context through and through, which takes five times as long.
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shown["state"] = str(self.state)
        shown["priority"] = show_priority(self.priority)
        shown["backoff_ms"] = self.backoff.base_ms
        shown["backoff"] = self.backoff.to_json()
        for name in ("run_at", "created_at", "started_at", "finished_at"):
            value = shown[name]
            shown[name] = None if value is None else format_time(value)
        return shown


def format_time(microseconds: int) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds, for example `2026-01-31T09:15:00.250Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest // 1000:03d}Z"


# Most of the times that are written in one second are of that second.
@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def parse_time(text: str) -> int:
    """Read an RFC 3339 time that names its offset; returns microseconds since the epoch. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        message = "a time needs its offset, for example 2026-01-31T09:15:00Z"
        raise ValueError(message)
    return round(moment.timestamp() * 1_000_000)
