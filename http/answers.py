"""What answers look like: the OpenAPI document is made from these, and tests hold the real answers against it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from callboard.actors.options import BackoffStrategy
from callboard.actors.task import ErrorKind, TaskState
from callboard.conf.settings import QueueSettings

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Answer(BaseModel):
    """What all answers have in common."""

    model_config = ConfigDict(extra="forbid")


class Attempt(Answer):
    """One attempt that did not end well."""

    attempt: int
    at: Time
    kind: ErrorKind
    message: str
    charged: bool = Field(description="Whether it counts against max_retries.")
    suspect: bool = Field(
        default=False,
        description="Its process died while other tasks ran there: true until it has run alone. Absent elsewhere.",
    )
    traceback: str = Field("")
    exit: str | int = Field("", description="The name of the signal or the exit code.")
    logs: list[str] = Field([], description="The last lines that it logged.")


class BackoffShown(Answer):
    """How long a failed task waits at least."""

    strategy: BackoffStrategy
    base_ms: int
    factor: float
    cap_ms: int
    jitter: float


class TaskShown(Answer):
    """A task."""

    id: Annotated[str, Field(json_schema_extra={"format": "uuid"})]
    queue: str
    type: str
    state: TaskState
    priority: Literal["low", "high"] | int
    context: dict[str, Any]
    attempt: int = Field(description="How many times it was begun.")
    max_retries: int
    backoff_ms: int
    backoff: BackoffShown
    timeout_ms: int
    run_at: Time
    created_at: Time
    created_by: str
    started_at: Time | None
    finished_at: Time | None
    errors: list[Attempt]
    result: Any
    meta: dict[str, Any] = Field(description="`launched`: the process that the task has started and waits for.")
    logs: list[str] = Field(description="The last lines that the attempt logged that ended well.")


class WorkerShown(Answer):
    """One worker process."""

    name: str
    queue: str
    pid: int
    state: Literal["starting", "idle", "busy", "stopping"]
    task: str | None = Field(description="Of several that run, the one that was handed out first.")
    task_age_ms: int | None
    memory: int | None = Field(description="Bytes (RSS).")
    tasks_done: int
    running: int = Field(description="Tasks that run in it now.")
    launched: int | None = Field(description="The process that its task has started and waits for.")


class Counts(Answer):
    """How many tasks are in each state."""

    available: int
    scheduled: int
    executing: int
    retryable: int
    completed: int
    dead: int
    cancelled: int


class Rates(Answer):
    """Tasks a second over the last minute."""

    submitted: float
    completed: float
    failed: float


class QueueShown(Answer):
    """A queue."""

    name: str
    state: Literal["running", "paused", "draining", "degraded", "standby", "idle"]
    why: str = Field(description="Why it is in this state, where that needs saying.")
    counts: Counts
    running: int = Field(description="Tasks that workers run.")
    leased: int = Field(description="Tasks that consumers have fetched and not settled.")
    oldest_age_ms: int | None = Field(description="Age of the task that has been available longest.")
    utilisation: float = Field(description="Part of the concurrency that was busy over the last minute, 0 to 1.")
    rates: Rates
    workers: list[WorkerShown]
    settings: QueueSettings | None
    pid: int | None = Field(description="The owner's process, null if there is none.")


class Changed(Answer):
    """What a bulk change did."""

    matched: int
    changed: int


class Health(Answer):
    """The server is up."""

    status: str
    store: str = ""
    registry: str = ""


class TaskAnswer(Answer):
    """One task."""

    data: TaskShown


class TasksAnswer(Answer):
    """Tasks in the order of the request."""

    data: list[TaskShown]


class TaskPage(Answer):
    """A page of tasks, newest first."""

    data: list[TaskShown]
    next_cursor: str | None = Field(description="Of the next page; null at the end.")


class QueueAnswer(Answer):
    """One queue."""

    data: QueueShown


class QueuesAnswer(Answer):
    """All queues."""

    data: list[QueueShown]


class WorkersAnswer(Answer):
    """All workers."""

    data: list[WorkerShown]


class ChangedAnswer(Answer):
    """What a bulk change did."""

    data: Changed


class HealthAnswer(Answer):
    """The server is up."""

    data: Health


class ProblemAnswer(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: dict[str, Any] | None = Field(None, description="Field → list of messages, nested as the request's body is.")
