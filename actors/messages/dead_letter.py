"""Between Queues and the DeadLetter."""

from dataclasses import dataclass
from typing import NamedTuple


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
