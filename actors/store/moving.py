"""Decisions that every store takes alike about tasks that come due or change their queue."""

from collections.abc import Sequence

from callboard.actors.ordering import Order
from callboard.actors.store import ReadyTask
from callboard.actors.task import TaskState


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
