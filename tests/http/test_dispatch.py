"""The short way to a handler answers as the router would."""

import pytest
from starlette.testclient import TestClient

from callboard.actors.messages import ListQueues, QueuesListed
from tests.http.edges import PlayedActors


@pytest.mark.parametrize("path", ["/api/tasks", "/api/tasks/01a200eb-47b3-7320-aa42-80672a02bc74"])
def test_head_is_answered_as_get_without_a_body(client: TestClient, path: str) -> None:
    read, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers["content-type"]) == (read.status_code, read.headers["content-type"])
    assert client.head("/api/dead/retry").status_code == 405


def test_a_slash_too_many_leads_to_the_path_without_it(client: TestClient, actors: PlayedActors) -> None:
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, (), {})
    answer = client.get("/api/queues/", follow_redirects=False)
    assert answer.status_code == 307
    assert client.get(answer.headers["location"]).json() == {"data": []}


def test_a_query_does_not_change_the_path(client: TestClient) -> None:
    assert client.get("/api/tasks?limit=5").json() == {"data": [], "next_cursor": None}
    assert client.post("/api/tasks?x=1", json={"queue": "sleep"}).status_code == 201
