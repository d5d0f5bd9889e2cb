"""Signs of life, and the answer to a request that was not done."""

from dataclasses import dataclass
from enum import StrEnum


class RefusalReason(StrEnum):
    """Why a request was not done."""

    UNKNOWN_QUEUE = "unknown_queue"
    STALE = "stale"
    """Wrong queue, incarnation or settings version: look the queue up again and send once more."""
    STARTING = "starting"
    """The queue is known but has no live owner yet: wait a moment and look it up again."""
    STANDBY = "standby"
    """Another server on the same store owns the queue."""
    IDLE = "idle"
    """The queue sleeps, and was not to be woken for this."""
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
