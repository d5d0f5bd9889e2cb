"""Tasks for tests to look at and change, and owners who change them."""

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from callboard.actors.messages import TasksChanged
from callboard.actors.store import Change, ReadyTask, TaskUpdate
from callboard.actors.task import TaskState
from tests.http.edges import PlayedActors

UNKNOWN = "01a200eb-47b3-7320-aa42-80672a02bc74"


def create(client: TestClient, queue: str = "sleep", number: int = 1) -> list[str]:
    answer = client.post("/api/tasks/batch", json={"tasks": [{"queue": queue}] * number})
    return [task["id"] for task in answer.json()["data"]]


def end(actors: PlayedActors, queue: str, ids: list[str], state: TaskState) -> None:
    """Put tasks into an ended state, as their owner would."""

    def ended(task: ReadyTask) -> TaskUpdate:
        return TaskUpdate(
            task.id, task.state, state, task.lane, task.rank, task.priority, None, 1, 1, 0, 5, 6, None, task.hand_out
        )

    owner = actors.owners[queue]
    with owner.transaction() as transaction:
        transaction.apply(Change(updates=[ended(task) for task in owner.load(ids)]))


def changing(taken: Callable[[str], str | None]) -> Callable[[Any], TasksChanged]:
    """Play an owner: `taken` says which state keeps a task from being changed, None for none."""

    def answer(message: Any) -> TasksChanged:
        unchanged = {task_id: state for task_id in message.ids if (state := taken(task_id)) is not None}
        return TasksChanged(message.request_id, tuple(one for one in message.ids if one not in unchanged), unchanged)

    return answer
