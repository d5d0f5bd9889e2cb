"""Who is to blame when a process dies in which several tasks ran: all are suspects until each has run alone.

Where a task stands is kept in its count of interruptions, above what can be counted there: it survives whatever the row
survives, and what orders or hands out tasks needs to look at nothing else.
"""

from enum import IntEnum
from typing import Final

from callboard.actors.store import ReadyTask

ALONE: Final = 1_000
"""From this on the count says that the task must have a process to itself."""


class Standing(IntEnum):
    """What is known of a task whose process died."""

    INNOCENT = 0
    SUSPECT = ALONE
    """It ran beside others when its process died. It was charged, and runs alone until it is known whether rightly so."""
    GUILTY = 2 * ALONE
    """Its process died while it ran alone: it stays alone, so that it hurts nobody else."""


def standing(task: ReadyTask) -> Standing:
    """Return what is known of the task."""
    return Standing(task.interruptions // ALONE * ALONE)


def in_a_row(task: ReadyTask) -> int:
    """Return how often the task was interrupted since its last charged failure."""
    return task.interruptions % ALONE
