"""A task that a consumer has fetched, as the Python clients give it and take it back."""

from dataclasses import dataclass, fields
from typing import Final, Protocol, Self

from callboard.actors.errors import InvalidOption
from callboard.actors.options import MAX_LEASE_MS, MAX_WANTED, MIN_LEASE_MS
from callboard.actors.request import Duration, milliseconds
from callboard.actors.request_values import check_integer
from callboard.actors.task import Task

DEFAULT_LEASE: Final = "60s"


@dataclass(frozen=True, slots=True)
class ClaimedTask(Task):
    """A task, and the claim that proves who has it."""

    claim: str = ""

    @classmethod
    def of(cls, task: Task, claim: str) -> Self:
        """Put the claim to a task."""
        return cls(**{item.name: getattr(task, item.name) for item in fields(Task)}, claim=claim)


class Claimed(Protocol):
    """What the clients need to know of a fetched task; a program that keeps it can go on after its own death."""

    @property
    def id(self) -> str:
        """The task's."""

    @property
    def claim(self) -> str:
        """As it came with the task."""


def lease_ms(lease: Duration) -> int:
    """Return a lease in milliseconds. Raises `InvalidOption`."""
    found = milliseconds(lease, "lease")
    if not MIN_LEASE_MS <= found <= MAX_LEASE_MS:
        raise InvalidOption(f"must be from {MIN_LEASE_MS} to {MAX_LEASE_MS} milliseconds", field="lease")
    return found


def check_max(wanted: int) -> int:
    """Return how many tasks are wanted. Raises `InvalidOption`."""
    check_integer(wanted, "max")
    if not 1 <= wanted <= MAX_WANTED:
        raise InvalidOption(f"must be from 1 to {MAX_WANTED}", field="max")
    return wanted
