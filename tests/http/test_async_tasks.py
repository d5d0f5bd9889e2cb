"""GET /task/{id} without actors: what is shown of tasks that were cancelled."""

import pytest
from starlette.testclient import TestClient

from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from tests.http.edges import SLEEP, PlayedActors
from tests.http.some_tasks import create, end


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
