"""Between the edge and a Queue: new tasks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from callboard.actors.messages.liveness import Refused
from callboard.actors.task import NewTask
from callboard.conf.settings import QueueSettings


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
class SettingsOutdated(Refused):
    """The tasks were built with settings that are not the queue's any more; with these they are to be built again."""

    settings: QueueSettings
    settings_version: int
