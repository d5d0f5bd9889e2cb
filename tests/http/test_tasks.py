"""Looking at tasks, waiting for them, retrying and cancelling them; the dead letter."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestTimedOut, StoreUnavailable
from callboard.actors.messages import CancelTasks, DeadPurged, PurgeDead, RetryTasks, TasksChanged
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
