"""Decisions that every store takes alike about tasks that come due or change their queue, and about queues that go."""

from collections.abc import Mapping, Sequence
from typing import Final

from callboard.actors.ordering import Order
from callboard.actors.store import ReadyTask
from callboard.actors.task import TaskState

_HISTORY: Final = frozenset({TaskState.COMPLETED, TaskState.CANCELLED})


def state_after_move(task: ReadyTask) -> TaskState:
    """Return the state in which a moved task waits for its time."""
    return TaskState.RETRYABLE if task.state == TaskState.RETRYABLE else TaskState.SCHEDULED


def placed(due: Sequence[ReadyTask], first_rank: int, order: Order) -> list[ReadyTask]:
    """Return due tasks as they are once they are available, placed as if they came one after another from then on."""
    available = []
    for came, task in enumerate(due, start=first_rank):
        lane, rank = order.place(task.priority, came)
        available.append(task._replace(state=str(TaskState.AVAILABLE), lane=lane, rank=rank))
    return available


def is_empty(counts: Mapping[TaskState, int]) -> bool:
    """Tell whether a queue with these counts has nothing unfinished and nothing dead."""
    return not any(count for state, count in counts.items() if state not in _HISTORY)
