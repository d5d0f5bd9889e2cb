"""The dead letter: seen, retried, purged."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.messages import DeadPurged, PurgeDead, RetryTasks
from callboard.actors.task import TaskState
from tests.http.edges import PlayedActors
from tests.http.some_tasks import UNKNOWN, changing, create, end


@pytest.fixture
def dead(client: TestClient, actors: PlayedActors) -> dict[str, list[str]]:
    """Three dead tasks in one queue, one in another, and one that lives."""
    ids = {"sleep": create(client, number=3), "dead_letter": create(client, "dead_letter")}
    for queue, chosen in ids.items():
        end(actors, queue, chosen, TaskState.DEAD)
    ids["alive"] = create(client)
    actors.answers[RetryTasks] = changing(lambda _: None)
    actors.answers[PurgeDead] = lambda message: DeadPurged(message.request_id, len(message.ids or ids[message.queue]))
    return ids


def test_the_dead_are_listed_newest_first(client: TestClient, dead: dict[str, list[str]]) -> None:
    listed = [task["id"] for task in client.get("/api/dead").json()["data"]]
    assert listed == sorted(dead["sleep"] + dead["dead_letter"], reverse=True)
    assert len(client.get("/api/dead?queue=dead_letter").json()["data"]) == 1
    assert client.get("/api/dead?state=dead").status_code == 400


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_the_dead_are_retried_and_purged_all_by_queue_and_by_ids(
    client: TestClient, actors: PlayedActors, dead: dict[str, list[str]], method: str
) -> None:
    path = "/api/dead/retry" if method == "POST" else "/api/dead"

    def changed(body: Any) -> Any:
        return client.request(method, path, json=body).json()["data"]

    assert changed({}) == {"matched": 4, "changed": 4}
    assert changed({"queue": "sleep"}) == {"matched": 3, "changed": 3}
    assert changed({"ids": [dead["sleep"][0], dead["alive"][0], UNKNOWN]}) == {"matched": 1, "changed": 1}
    assert changed({"ids": dead["sleep"], "queue": "dead_letter"}) == {"matched": 0, "changed": 0}
    assert {message.queue for message in actors.asked} == {"sleep", "dead_letter"}
    assert client.request(method, path).json()["data"] == {"matched": 4, "changed": 4}
    assert client.request(method, path, json={"que": "sleep"}).status_code == 400


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_the_query_names_dead_tasks_as_the_body_does(
    client: TestClient, actors: PlayedActors, dead: dict[str, list[str]], method: str
) -> None:
    path = "/api/dead/retry" if method == "POST" else "/api/dead"
    first, second, third = dead["sleep"]

    def changed(query: str, body: Any = None) -> Any:
        return client.request(method, f"{path}?{query}", json=body).json()["data"]

    assert changed("queue=nowhere") == changed("queue=") == changed("ids=") == {"matched": 0, "changed": 0}
    assert not actors.asked
    assert changed("queue=dead_letter", {}) == {"matched": 1, "changed": 1}
    assert changed(f"ids={first}", {"queue": None}) == {"matched": 1, "changed": 1}
    assert changed(f"ids={second}&ids={third}&queue=sleep") == {"matched": 2, "changed": 2}
    assert [(message.queue, message.ids) for message in actors.asked[1:]] == [
        ("sleep", (first,)),
        ("sleep", (second, third)),
    ]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("que=sleep", None),  # misspelt
        ("state=dead", {}),  # of the list only
        ("queue=sleep", {"queue": "sleep"}),  # in both, even if they agree
        ("queue=sleep", {"ids": []}),
        ("queue=sleep&queue=typed", None),  # it can't be both
        (f"ids={UNKNOWN}", {"queue": "sleep"}),
    ],
)
@pytest.mark.usefixtures("dead")
def test_a_query_that_is_not_understood_or_said_twice_changes_nothing(
    client: TestClient, actors: PlayedActors, method: str, query: str, body: Any
) -> None:
    path = "/api/dead/retry" if method == "POST" else "/api/dead"
    answer = client.request(method, f"{path}?{query}", json=body)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [query.partition("=")[0]])
    assert not actors.asked
