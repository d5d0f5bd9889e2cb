"""Between the edge and a Queue: tasks for consumers that fetch them, and what these say of those they have."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Word(StrEnum):
    """What a consumer says of a task that it has."""

    ACK = "ack"
    FAIL = "fail"
    HEARTBEAT = "heartbeat"


class Settlement(NamedTuple):
    """One word of a consumer, about the task that it got by this hand-out."""

    word: Word
    task_id: str
    number: int
    """Of the hand-out, as the claim names it."""
    text: str = ""
    """Ack: the result as JSON text. Fail: the message."""
    discard: bool = False
    """Fail: no further attempt whatever the budget."""
    lease_ms: int = 0
    """Heartbeat: from now on."""


class Settled(StrEnum):
    """What became of a settlement."""

    DONE = "done"
    STALE = "stale"
    """The task is not with this consumer any more: the lease has expired, it was cancelled, or it was settled before."""
    UNKNOWN = "unknown"
    """There is no such task in this queue."""


def surely(word: Settlement, settled: Settled) -> Settled:
    """Judge the answer of an owner whose predecessor may have done it already: of a failure then only that it was told."""
    return Settled.DONE if word.word is Word.FAIL and settled is Settled.STALE else settled


class Want(NamedTuple):
    """One consumer's wish for tasks. `id`: the same wish, sent again, gets the tasks that it got and still holds."""

    id: str
    max: int
    lease_ms: int
    consumer: str = ""


class Given(NamedTuple):
    """What a want got: hand-outs by number. `more`: nothing, though there may be something: ask again."""

    leases: tuple[tuple[str, int], ...] = ()
    """(task id, number of its hand-out)"""
    more: bool = False


@dataclass(frozen=True)
class ExchangeTasks:
    """Settle these, then give these wants what is there, all in one transaction."""

    request_id: str
    queue: str
    incarnation: int
    settlements: tuple[Settlement, ...]
    wants: tuple[Want, ...]


@dataclass(frozen=True)
class TasksExchanged:
    """The transaction is on disk; an answer for each settlement and each want, in their order."""

    request_id: str
    settled: tuple[Settled, ...]
    given: tuple[Given, ...]
