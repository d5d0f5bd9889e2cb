"""How much is measured."""

from dataclasses import dataclass
from typing import Final, Self

TASKS: Final = 30_000
QUICK_TASKS: Final = 5_000
BACKLOG: Final = 1_000_000
QUICK_BACKLOG: Final = 50_000
BATCH: Final = 100
"""Tasks in one request, as the targets have it."""
CONNECTIONS: Final = 64
"""Of the clients that submit one by one, as the targets have it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run. Times in seconds."""

    rounds: int
    tasks: int
    """In one round of batches; a third of it one by one."""
    latency_tasks: int
    idle_seconds: float
    kill_rounds: int
    backlog: int
    """Waiting tasks of the large backlog."""
    backlog_rounds: int

    @property
    def singles(self) -> int:
        """Tasks that are submitted one by one in a round."""
        return max(1, self.tasks // 3)

    @classmethod
    def of(cls, *, quick: bool, tasks: int | None) -> Self:
        """Return the sizes of a full or a quick run; `tasks`, if given, replaces the number of tasks in all of its parts."""
        if quick:
            return cls(1, tasks or QUICK_TASKS, 50, 2.0, 1, tasks or QUICK_BACKLOG, 1)
        return cls(3, tasks or TASKS, 300, 10.0, 5, tasks or BACKLOG, 5)
