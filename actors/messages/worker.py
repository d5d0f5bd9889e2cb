"""Between a Queue and its Workers."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from callboard.conf.settings import QueueSettings
from callboard.conf.type_defaults import TypeDefaults


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
    store_url: str = field(repr=False)  # it may hold a password
    samples: dict[str, Any]
    log_level: str
    log_format: str


@dataclass(frozen=True)
class WorkerReady:
    """The worker can take a batch."""

    worker: str
    pid: int
    learned: dict[str, TypeDefaults] = field(default_factory=dict)
    """What its handlers say of their tasks, by type."""


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
    """The batch has no tokens left: read the journal. This message only rings the bell.

    Where many tasks run at once: some have ended, or tokens were gone. `number` means nothing then.
    """

    worker: str
    number: int
    spent: bool = False
    """Only where many tasks run at once: this process is to be replaced when the others have ended."""


@dataclass(frozen=True)
class StopTask:
    """Stop one of many tasks, if it still runs. What can't be stopped has the worker ask to be replaced."""

    number: int
    index: int
    timed_out: bool
    """Else its cancellation was asked for."""
