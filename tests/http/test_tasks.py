"""Looking at tasks, waiting for them, retrying and cancelling them; the dead letter."""

import threading
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestTimedOut, StoreUnavailable
from callboard.actors.messages import CancelTasks, RetryTasks
from callboard.actors.task import TaskState
from tests.http.edges import PlayedActors
from tests.http.some_tasks import UNKNOWN, changing, create, end


@pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", "%00", "1", "a%2Fb"])
@pytest.mark.parametrize("action", ["", "/retry", "/cancel"])
def test_an_unknown_id_is_answered_with_404(client: TestClient, task_id: str, action: str) -> None:
    path = f"/api/tasks/{task_id}{action}"
    answer = client.post(path) if action else client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_id_is_found_however_it_is_written(client: TestClient) -> None:
    (task_id,) = create(client)
    assert client.get(f"/api/tasks/{task_id.upper()}").json()["data"]["id"] == task_id


def test_a_list_shows_each_task_once_newest_first(client: TestClient) -> None:
    ids = create(client, number=7)
    seen: list[str] = []
    query = {"queue": "sleep", "limit": "3"}
    while True:
        page = client.get("/api/tasks", params=query).json()
        seen += [task["id"] for task in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == sorted(ids, reverse=True)


def test_a_list_is_narrowed_by_queue_state_and_type(client: TestClient, actors: PlayedActors) -> None:
    first, second = create(client, number=2)
    create(client, "dead_letter")
    end(actors, "sleep", [first], TaskState.DEAD)

    def listed(**query: str) -> list[str]:
        return [task["id"] for task in client.get("/api/tasks", params=query).json()["data"]]

    assert listed(queue="sleep", state="available") == [second]
    assert listed(state="dead") == [first]
    assert listed(type="nothing") == []
    assert len(listed()) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),  # below the range
        ({"limit": "1001"}, "limit"),  # above the range
        ({"limit": "many"}, "limit"),  # not a number
        ({"state": "asleep"}, "state"),  # no such state
        ({"cursor": "x"}, "cursor"),  # not one of ours
        ({"que": "sleep"}, "que"),  # misspelt
    ],
)
def test_a_wrong_query_is_refused(client: TestClient, query: dict[str, str], field: str) -> None:
    answer = client.get("/api/tasks", params=query)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


def test_waiting_answers_as_soon_as_the_task_has_ended(client: TestClient, actors: PlayedActors) -> None:
    ids = create(client, number=2)
    threading.Timer(0.1, end, (actors, "sleep", ids, TaskState.COMPLETED)).start()
    assert client.get(f"/api/tasks/{ids[0]}?wait=30").json()["data"]["state"] == "completed"
    assert client.get(f"/api/tasks/{ids[1]}?wait=30").json()["data"]["state"] == "completed"


def test_waiting_ends_in_time_with_the_task_as_it_is(client: TestClient) -> None:
    (task_id,) = create(client)
    began = time.monotonic()
    assert client.get(f"/api/tasks/{task_id}?wait=0.1").json()["data"]["state"] == "available"
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "soon"])
def test_a_wrong_wait_is_refused(client: TestClient, wait: str) -> None:
    assert client.get(f"/api/tasks/{UNKNOWN}?wait={wait}").status_code == 400


def test_waiting_on_a_store_that_fails_is_answered_with_503(
    client: TestClient, actors: PlayedActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> int:
        raise StoreUnavailable("gone")

    (task_id,) = create(client)
    monkeypatch.setattr(actors.store, "version", fail)
    assert client.get(f"/api/tasks/{task_id}?wait=30").status_code == 503


def test_a_store_that_fails_is_answered_with_503(
    client: TestClient, actors: PlayedActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(actors.store, "get", fail)
    assert client.get(f"/api/tasks/{UNKNOWN}").status_code == 503


def test_a_dead_task_is_retried_by_its_queues_owner(client: TestClient, actors: PlayedActors) -> None:
    (task_id,) = create(client)
    actors.answers[RetryTasks] = changing(lambda _: None)
    answer = client.post(f"/api/tasks/{task_id}/retry", json={"keep_attempts": True})
    assert (answer.status_code, answer.json()["data"]["id"]) == (200, task_id)
    assert (actors.asked[0].queue, actors.asked[0].ids, actors.asked[0].keep_attempts) == ("sleep", (task_id,), True)
    client.post(f"/api/tasks/{task_id}/retry")
    assert actors.asked[1].keep_attempts is False


@pytest.mark.parametrize(
    ("action", "message", "state"), [("retry", RetryTasks, "executing"), ("cancel", CancelTasks, "completed")]
)
def test_a_task_in_the_wrong_state_is_answered_with_409_and_that_state(
    client: TestClient, actors: PlayedActors, action: str, message: type, state: str
) -> None:
    (task_id,) = create(client)
    actors.answers[message] = changing(lambda _: state)
    answer = client.post(f"/api/tasks/{task_id}/{action}")
    assert (answer.status_code, answer.json()["state"]) == (409, state)
    actors.answers[message] = changing(lambda _: "")
    assert client.post(f"/api/tasks/{task_id}/{action}").status_code == 404


def test_a_cancel_that_a_dead_owner_had_done_already_is_a_success(client: TestClient, actors: PlayedActors) -> None:
    (task_id,) = create(client)
    actors.answers[CancelTasks] = changing(lambda _: "cancelled")
    assert client.post(f"/api/tasks/{task_id}/cancel").status_code == 409
    actors.unsure = True
    assert client.post(f"/api/tasks/{task_id}/cancel").status_code == 200


def test_many_are_changed_by_ids(client: TestClient, actors: PlayedActors) -> None:
    ids = create(client, number=3) + create(client, "dead_letter")
    actors.answers[CancelTasks] = changing(lambda task_id: "completed" if task_id == ids[0] else None)
    answer = client.post("/api/tasks/cancel", json={"ids": [*ids, UNKNOWN, "nonsense", ids[1]]})
    assert answer.json() == {"data": {"matched": 4, "changed": 3}}
    assert sorted(message.queue for message in actors.asked) == ["dead_letter", "sleep"]


def test_many_are_changed_by_filter_in_chunks_and_none_twice(client: TestClient, actors: PlayedActors) -> None:
    ids = create(client, number=2_500)
    create(client, "dead_letter")
    actors.answers[RetryTasks] = changing(lambda _: None)
    answer = client.post("/api/tasks/retry", json={"filter": {"queue": "sleep"}})
    assert answer.json() == {"data": {"matched": 2_500, "changed": 2_500}}
    asked = [task_id for message in actors.asked for task_id in message.ids]
    assert sorted(asked) == sorted(ids)
    assert max(len(message.ids) for message in actors.asked) <= 1_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),  # neither
        ({"filter": {}}, "filter"),  # everything, which nobody means
        ({"ids": [], "filter": {"queue": "sleep"}}, "filter"),  # both
        ({"ids": "x"}, "ids"),  # not a list
        ({"filter": {"stat": "dead"}}, "filter"),  # misspelt
        ({"keep": True, "ids": []}, "keep"),  # unknown
    ],
)
def test_a_bulk_change_of_nothing_certain_is_refused(client: TestClient, body: Any, field: str) -> None:
    for action in ("retry", "cancel"):
        answer = client.post(f"/api/tasks/{action}", json=body)
        assert answer.status_code == 400
        assert field in answer.json()["errors"]


def test_an_owner_that_does_not_answer_a_change_is_answered_with_503(client: TestClient, actors: PlayedActors) -> None:
    (task_id,) = create(client)
    actors.answers[CancelTasks] = lambda _: RequestTimedOut("no answer")
    assert client.post(f"/api/tasks/{task_id}/cancel").status_code == 503


def test_keep_attempts_that_is_null_is_not_given(client: TestClient, actors: PlayedActors) -> None:
    (task_id,) = create(client)
    end(actors, "sleep", [task_id], TaskState.DEAD)
    actors.answers[RetryTasks] = changing(lambda _: None)
    for path, body in ((f"/api/tasks/{task_id}/retry", {}), ("/api/tasks/retry", {"ids": [task_id], "filter": None})):
        assert client.post(path, json={**body, "keep_attempts": None}).status_code == 200
        assert actors.asked[-1].keep_attempts is False
        assert client.post(path, json={**body, "keep_attempts": 0}).status_code == 400
