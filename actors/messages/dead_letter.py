"""Between Queues and the DeadLetter."""

from dataclasses import dataclass
from typing import NamedTuple


class DeadTask(NamedTuple):
    """What the DeadLetter is told of a task that has just died."""

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
