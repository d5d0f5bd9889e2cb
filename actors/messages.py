"""Every message that crosses a process, one frozen dataclass each.

A command is named for its intent, a reply for the fact. Every request carries a `request_id` that its reply repeats:
a late reply to an earlier request can arrive at the same endpoint and must be told from this one. Every message to a
Queue names the queue and the incarnation that the sender believes in; a wrong addressee refuses it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from thespian.actors import ActorAddress

from callboard.actors.task import NewTask, TaskState
from callboard.conf.settings import QueueSettings

# ---------------------------------------------------------------- liveness and refusals


class RefusalReason(StrEnum):
    """Why a request was not done."""

    UNKNOWN_QUEUE = "unknown_queue"
    STALE = "stale"
    """Wrong queue, incarnation or settings version: look the queue up again and send once more."""
    STARTING = "starting"
    """The queue is known but has no live owner yet: wait a moment and look it up again."""
    STORE_UNAVAILABLE = "store_unavailable"
    INVALID = "invalid"
    NOT_EMPTY = "not_empty"
    SHUTTING_DOWN = "shutting_down"
    FAILED = "failed"
    """An error of our own; it is in the log."""


@dataclass(frozen=True)
class Refused:
    """The request was not done and changed nothing; `detail` is a sentence for people."""

    request_id: str
    reason: RefusalReason
    detail: str


@dataclass(frozen=True)
class Ping:
    """Ask for a sign of life."""

    request_id: str


@dataclass(frozen=True)
class Pong:
    """A sign of life."""

    request_id: str
    pid: int


# ---------------------------------------------------------------- the server and its Registry


@dataclass(frozen=True)
class StartRegistry:
    """Bring up the Registry: queues of the configuration and of the store. Paths and URL as texts, ready to use."""

    request_id: str
    settings: dict[str, Any]
    """`Settings.model_dump(mode="json")`."""
    data_dir: str
    store_url: str
    boot_id: str


@dataclass(frozen=True)
class RegistryReady:
    """The Registry has asked all its queues to start and answers look-ups."""

    request_id: str
    pid: int


@dataclass(frozen=True)
class ShutDown:
    """Let running tasks end within the grace, give back the rest, stop all queues."""

    request_id: str
    grace_seconds: float


@dataclass(frozen=True)
class ShutDownDone:
    """All queues have stopped; `interrupted` tasks were still running and go back uncharged."""

    request_id: str
    interrupted: int


# ---------------------------------------------------------------- the edge and the Registry


@dataclass(frozen=True)
class FindQueue:
    """Ask where a queue's owner is."""

    request_id: str
    queue: str


@dataclass(frozen=True)
class QueueFound:
    """Where a queue's owner is and what its tasks default to."""

    request_id: str
    queue: str
    address: ActorAddress
    pid: int
    started: float
    """Start time of that pid (as in `processes.Ident`)."""
    incarnation: int
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class ListQueues:
    """Ask for the names of all queues."""

    request_id: str


@dataclass(frozen=True)
class QueuesListed:
    """All queues by name, and for those that have no live owner the reason why."""

    request_id: str
    names: tuple[str, ...]
    down: dict[str, str]


@dataclass(frozen=True)
class PutQueue:
    """Create a queue or replace its settings; survives a restart."""

    request_id: str
    queue: str
    settings: QueueSettings


@dataclass(frozen=True)
class QueuePut:
    """The queue has these settings now."""

    request_id: str
    queue: str
    created: bool


@dataclass(frozen=True)
class DeleteQueue:
    """Delete a queue: only an empty one (nothing unfinished, nothing dead) unless forced."""

    request_id: str
    queue: str
    force: bool


@dataclass(frozen=True)
class QueueDeleted:
    """The queue and its `tasks` tasks are gone."""

    request_id: str
    queue: str
    tasks: int


# ---------------------------------------------------------------- the Registry and its Queues


@dataclass(frozen=True)
class StartQueue:
    """Own this queue from now on."""

    queue: str
    data_dir: str
    store_url: str
    boot_id: str
    samples: dict[str, Any]
    log_level: str
    log_format: str


@dataclass(frozen=True)
class DeadLetterAt:
    """Forward what dies to this address from now on."""

    address: ActorAddress


@dataclass(frozen=True)
class QueueReady:
    """The Queue owns its tasks and takes more."""

    queue: str
    pid: int
    incarnation: int
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class QueueNotReady:
    """The Queue can't own its tasks (store down, …) and ends itself; the Registry tries again with backoff."""

    queue: str
    reason: str


@dataclass(frozen=True)
class SettingsChanged:
    """The Queue's settings are now these; sent by the Queue when it changed them itself (scale)."""

    queue: str
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class ApplySettings:
    """The Registry has stored new settings for this queue."""

    queue: str
    settings: QueueSettings
    settings_version: int


@dataclass(frozen=True)
class StopQueue:
    """Hand out nothing more, let what runs end within the grace, store everything, then say QueueStopped."""

    request_id: str
    queue: str
    grace_seconds: float


@dataclass(frozen=True)
class QueueStopped:
    """The Queue has stored everything and may be ended."""

    request_id: str
    queue: str
    interrupted: int


# ---------------------------------------------------------------- the edge and a Queue


class Submission(NamedTuple):
    """The tasks of one request: accepted as a whole or not at all.

    Pickled by columns: with hundreds of tasks in a message that costs a third of pickling task by task.
    """

    tasks: tuple[NewTask, ...]
    key: str = ""
    """The Idempotency-Key, "" for none."""
    fingerprint: str = ""
    """Of the whole request, so that the same key with another request is found out."""
    resent: bool = False
    """It may have been stored already: ids that are there are left alone."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by columns."""
        return _submission_of, (tuple(zip(*self.tasks, strict=True)), *self[1:])


def _submission_of(columns: tuple[tuple[Any, ...], ...], key: str, fingerprint: str, resent: bool) -> Submission:  # noqa: FBT001
    return Submission(tuple(map(NewTask._make, zip(*columns, strict=True))), key, fingerprint, resent)


class Outcome(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    """Its key was used by the same request before; `ids` are the tasks of then."""
    CONFLICT = "conflict"
    """Its key was used by another request."""
    FULL = "full"
    """`max_length` is reached, or the queue drains; try later."""


class Verdict(NamedTuple):
    """What became of one submission. `detail` is a sentence for people where it was not accepted."""

    outcome: Outcome
    ids: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class SubmitTasks:
    """Store these submissions, all in one transaction."""

    request_id: str
    queue: str
    incarnation: int
    settings_version: int
    submissions: tuple[Submission, ...]


@dataclass(frozen=True)
class TasksAccepted:
    """The transaction is on disk; one verdict a submission, in their order."""

    request_id: str
    verdicts: tuple[Verdict, ...]


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
    """One worker. `state`: starting, idle, busy, stopping. Ages in milliseconds, memory (RSS) in bytes."""

    name: str
    pid: int
    state: str
    task: str | None
    task_age_ms: int | None
    memory: int | None
    tasks_done: int


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


@dataclass(frozen=True)
class QueueDescribed:
    """The answer to all questions and commands about a queue as a whole."""

    request_id: str
    status: QueueStatus


# ---------------------------------------------------------------- a Queue and its Workers


@dataclass(frozen=True)
class StartWorker:
    """Become able to run this queue's tasks: limits, imports, the two files shared with the Queue."""

    worker: str
    queue: str
    incarnation: int
    boot_id: str
    settings: QueueSettings
    tokens: str
    journal: str
    data_dir: str
    store_url: str
    samples: dict[str, Any]
    log_level: str
    log_format: str


@dataclass(frozen=True)
class WorkerReady:
    """The worker can take a batch."""

    worker: str
    pid: int


@dataclass(frozen=True)
class WorkerFailed:
    """The worker can't start (import error, raising constructor) and ends itself."""

    worker: str
    reason: str


class RunTask(NamedTuple):
    """A task as its worker needs it."""

    id: str
    type: str
    context: str
    attempt: int
    max_retries: int
    timeout_ms: int


@dataclass(frozen=True)
class Run:
    """A batch. The worker begins task i only when it has read token i from its tokens file."""

    number: int
    tasks: tuple[RunTask, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by columns, as a submission is."""
        return _run_of, (self.number, tuple(zip(*self.tasks, strict=True)))


def _run_of(number: int, columns: tuple[tuple[Any, ...], ...]) -> Run:
    return Run(number, tuple(map(RunTask._make, zip(*columns, strict=True))))


@dataclass(frozen=True)
class Report:
    """The batch has no tokens left: read the journal. This message only rings the bell."""

    worker: str
    number: int


# ---------------------------------------------------------------- Queues and the DeadLetter


class DeadTask(NamedTuple):
    """What the DeadLetter keeps of a task that has just died."""

    id: str
    queue: str
    died_at: int
    kind: str
    message: str


@dataclass(frozen=True)
class TasksDied:
    """A Queue forwards its dead: they are in the store already."""

    queue: str
    number: int
    tasks: tuple[DeadTask, ...]


@dataclass(frozen=True)
class DeathsNoted:
    """The DeadLetter has taken note: the Queue may send the next ones."""

    number: int


@dataclass(frozen=True)
class RecentDeaths:
    """Ask the DeadLetter for the newest deaths since it started."""

    request_id: str
    limit: int


@dataclass(frozen=True)
class DeathsListed:
    """The newest deaths first, and how many there were since the DeadLetter started."""

    request_id: str
    tasks: tuple[DeadTask, ...]
    total: int
