"""The routes of AsyncTaskProcessor without actors: what is shown of cancelled tasks, and what is said of refusals."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestRefused
from callboard.actors.messages import QueueFound, RefusalReason, RetryTasks
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from tests.http.edges import SLEEP, PlayedActors
from tests.http.some_tasks import changing, create, end


@pytest.mark.parametrize(("state", "error"), [(TaskState.CANCELLED, "cancelled"), (TaskState.COMPLETED, None)])
def test_async_07_a_cancelled_task_says_why_it_has_failed(
    client: TestClient, actors: PlayedActors, state: TaskState, error: str | None
) -> None:
    actors.add("default", QueueSettings(worker=SLEEP))
    (task_id,) = create(client, "default")
    assert client.get(f"/task/{task_id}").json()["error"] is None
    end(actors, "default", [task_id], state)
    shown = client.get(f"/task/{task_id}").json()
    assert (shown["error"], shown["status"] == "Failed to process") == (error, error is not None)


@pytest.fixture
def failed(client: TestClient, actors: PlayedActors) -> str:
    """A task that has failed for good."""
    actors.add("default", QueueSettings(worker=SLEEP))
    (task_id,) = create(client, "default")
    end(actors, "default", [task_id], TaskState.DEAD)
    return task_id


def test_a_task_that_somebody_else_has_just_put_back_is_not_put_back_again(
    client: TestClient, actors: PlayedActors, failed: str
) -> None:
    actors.answers[RetryTasks] = changing(lambda _: TaskState.AVAILABLE)
    answer = client.post(f"/task/{failed}/retry")
    assert (answer.status_code, answer.json()["state"]) == (400, "available")
    assert answer.json()["error"].startswith(f"Task {failed} is available. ")


def test_a_server_that_stops_does_not_say_that_there_is_no_queue(
    client: TestClient, actors: PlayedActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(queue: str) -> QueueFound:
        raise RequestRefused(RefusalReason.SHUTTING_DOWN, f"{queue} is stopping")

    monkeypatch.setattr(actors, "find", refuse)
    assert client.post("/tasks/enqueue", json={"tasks": []}).status_code == 503


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "tasks can't be blank"),  # nothing of any one task
        ({"tasks": [], "taks": 1}, "taks unknown option, did you mean tasks?"),
        ({"tasks": [7]}, "tasks[0]: must be an object"),  # nothing of any one field
        ({"tasks": [{"taskType": "X", "payload": 7}]}, "tasks[0] (X): payload must be an object"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_too(
    client: TestClient, actors: PlayedActors, body: dict[str, Any], error: str
) -> None:
    actors.add("default", QueueSettings(worker=SLEEP))
    answer = client.post("/tasks/enqueue", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
