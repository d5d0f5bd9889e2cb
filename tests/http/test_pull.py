"""Tasks fetched, acknowledged, failed and kept alive over HTTP, by the real owner of a queue."""

import asyncio
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestRefused, StoreUnavailable
from callboard.actors.leases import Claim
from callboard.actors.messages import ExchangeTasks, QueueFound, RefusalReason, TasksExchanged, Want
from callboard.conf.settings import QueueSettings
from tests.http.edges import PlayedActors
from tests.http.some_tasks import UNKNOWN
from tests.support.made_tasks import new_task
from tests.support.polling import eventually
from tests.support.stages import Stage

MAIL = "/api/queues/mail/dequeue"
ONE = {"max": 1, "lease_ms": 60_000}


@pytest.fixture
def stage(tmp_path: Path, actors: PlayedActors) -> Iterator[Stage]:
    """The queue `mail`, without workers; what consumers say and want is done by its owner."""
    settings = QueueSettings()
    stage = Stage(tmp_path, store=actors.store, settings=settings)
    turn = threading.Lock()
    actors.queues["mail"] = QueueFound("", "mail", None, 1, 1.0, stage.owner.incarnation, settings, 1)

    def exchange(asked: ExchangeTasks) -> TasksExchanged:
        with turn:
            done = stage.owner.exchange(asked.settlements, asked.wants, stage.now)
        return TasksExchanged(asked.request_id, tuple(done.settled), tuple(done.given))

    actors.answers[ExchangeTasks] = exchange
    yield stage
    stage.close()


def dequeue(client: TestClient, headers: dict[str, str] | None = None, **wanted: Any) -> Any:
    answer = client.post(MAIL, json={**ONE, **wanted}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def say(client: TestClient, task: dict[str, Any], verb: str, **body: Any) -> Any:
    return client.post(f"/api/tasks/{task['id']}/{verb}", json={"claim": task["claim"], **body})


def test_an_empty_queue_answers_an_empty_list(client: TestClient, stage: Stage) -> None:
    assert dequeue(client) == []


def test_a_fetched_task_is_shown_with_its_claim(client: TestClient, stage: Stage) -> None:
    wanted = new_task(context='{"to": "ada"}', priority=1)
    stage.submit(wanted)
    (task,) = dequeue(client)
    shown = client.get(f"/api/tasks/{wanted.id}").json()["data"]
    assert {name: value for name, value in task.items() if name != "claim"} == shown
    assert (task["context"], task["attempt"], task["state"]) == ({"to": "ada"}, 1, "executing")
    assert isinstance(task["claim"], str)


def test_no_more_are_fetched_than_were_wanted(client: TestClient, stage: Stage) -> None:
    tasks = [new_task() for _ in range(5)]
    stage.submit(*tasks)
    assert [task["id"] for task in dequeue(client, max=3)] == [task.id for task in tasks[:3]]
    assert [task["id"] for task in dequeue(client, max=1_000)] == [task.id for task in tasks[3:]]


def test_an_ack_completes_the_task_with_its_result(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    (task,) = dequeue(client)
    answer = say(client, task, "ack", result={"width": [1, None]})
    assert answer.status_code == 200
    assert answer.json()["data"]["state"] == "completed"
    assert client.get(f"/api/tasks/{task['id']}").json()["data"]["result"] == {"width": [1, None]}


def test_a_result_is_optional(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    assert say(client, dequeue(client)[0], "ack").json()["data"]["result"] is None


def test_a_failure_is_recorded_and_retried(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    (task,) = dequeue(client)
    shown = say(client, task, "fail", error="x" * 5_000).json()["data"]
    assert shown["state"] == "retryable"
    (error,) = shown["errors"]
    assert (error["kind"], error["charged"], error["message"]) == ("error", True, "x" * 2_000)


def test_a_failure_that_discards_is_the_last(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    assert say(client, dequeue(client)[0], "fail", error="no", discard=True).json()["data"]["state"] == "dead"


def test_a_heartbeat_renews_the_lease(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    (task,) = dequeue(client, lease_ms=1_000)
    stage.wait(0.9)
    assert say(client, task, "heartbeat", lease_ms=1_000).json()["data"]["state"] == "executing"
    stage.wait(0.9)
    assert say(client, task, "ack").status_code == 200


BODIES: dict[str, dict[str, Any]] = {"ack": {}, "fail": {"error": "no"}, "heartbeat": {"lease_ms": 1_000}}


@pytest.mark.parametrize("verb", BODIES)
def test_a_stale_claim_is_a_conflict(client: TestClient, stage: Stage, verb: str) -> None:
    stage.submit(new_task(), new_task())
    task, other = dequeue(client, max=2, lease_ms=1_000)
    stage.wait(1)
    for claim in (task["claim"], other["claim"], "nonsense", str(Claim("nowhere", 1, task["id"]))):
        answer = say(client, {"id": task["id"], "claim": claim}, verb, **BODIES[verb])
        assert answer.status_code == 409, claim
        assert answer.json()["type"] == "urn:callboard:problem:stale-claim"


@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense"])
def test_an_unknown_task_is_answered_with_404(client: TestClient, stage: Stage, verb: str, task_id: str) -> None:
    task = {"id": task_id, "claim": str(Claim("mail", 1, task_id))}
    assert say(client, task, verb, **BODIES[verb]).status_code == 404


def test_an_id_is_found_however_it_is_written(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    (task,) = dequeue(client)
    assert say(client, {**task, "id": task["id"].upper()}, "ack").status_code == 200


def test_an_unknown_queue_is_answered_with_404(client: TestClient, stage: Stage) -> None:
    assert client.post("/api/queues/nowhere/dequeue", json=ONE).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/api/queues/mail/dequeue", {}, {"max": ["can't be blank"], "lease_ms": ["can't be blank"]}),
        (MAIL, {**ONE, "max": 0}, {"max": ["must be greater than or equal to 1"]}),
        (MAIL, {**ONE, "max": 1_001}, {"max": ["must be less than or equal to 1000"]}),
        (MAIL, {**ONE, "max": "1"}, {"max": ["must be an integer"]}),
        (MAIL, {**ONE, "lease_ms": 0}, {"lease_ms": ["must be greater than or equal to 1"]}),
        (MAIL, {**ONE, "lease_ms": 86_400_001}, {"lease_ms": ["must be less than or equal to 86400000"]}),
        (MAIL, {**ONE, "lease_ms": 1.5}, {"lease_ms": ["must be an integer"]}),
        (MAIL, {**ONE, "wait_ms": -1}, {"wait_ms": ["must be greater than or equal to 0"]}),
        (MAIL, {**ONE, "wait_ms": 60_001}, {"wait_ms": ["must be less than or equal to 60000"]}),
        (MAIL, {**ONE, "consumer": "a\nb"}, {"consumer": ["must have printable characters only"]}),
        (MAIL, {**ONE, "consumer": "x" * 201}, {"consumer": ["must have at most 200 characters"]}),
        (MAIL, {**ONE, "lease": 5}, {"lease": ["unknown option, did you mean lease_ms?"]}),
        ("/api/tasks/ID/ack", {}, {"claim": ["can't be blank"]}),
        ("/api/tasks/ID/ack", {"claim": ""}, {"claim": ["can't be blank"]}),
        ("/api/tasks/ID/ack", {"claim": 7}, {"claim": ["must be a string"]}),
        (
            "/api/tasks/ID/ack",
            {"claim": "c", "result": "x" * 1_000_000},
            {"result": ["must have at most 1,000,000 bytes of JSON: store it elsewhere and say where"]},
        ),
        ("/api/tasks/ID/fail", {"claim": "c"}, {"error": ["can't be blank"]}),
        ("/api/tasks/ID/fail", {"claim": "c", "error": {"a": 1}}, {"error": ["must be a string"]}),
        ("/api/tasks/ID/heartbeat", {"claim": "c"}, {"lease_ms": ["can't be blank"]}),
        ("/api/tasks/ack", {"acks": [{"claim": "c"}, {}]}, {"acks": {"1": {"claim": ["can't be blank"]}}}),
        (
            "/api/tasks/ack",
            {"acks": [{"claim": "c", "result": 1, "error": "no"}]},
            {"acks": {"0": {"error": ["must not be given together with a result"]}}},
        ),
        ("/api/tasks/ack", {"acks": [{"claim": "c"}] * 1_001}, {"acks": ["must have at most 1000 entries"]}),
    ],
)
def test_what_is_wrong_is_said_where_it_is_wrong(
    client: TestClient, stage: Stage, path: str, body: dict[str, Any], errors: dict[str, Any]
) -> None:
    answer = client.post(path.replace("ID", UNKNOWN), json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"] == errors


def test_many_are_acknowledged_at_once_and_each_outcome_is_told(client: TestClient, stage: Stage) -> None:
    stage.submit(*(new_task() for _ in range(3)))
    done, failed, stale = dequeue(client, max=3)
    say(client, stale, "fail", error="no")
    acks = [
        {"claim": done["claim"], "result": 7},
        {"claim": failed["claim"], "error": "no", "discard": True},
        {"claim": stale["claim"]},
        {"claim": str(Claim("mail", 1, UNKNOWN))},
        {"claim": str(Claim("nowhere", 1, done["id"]))},
        {"claim": "nonsense"},
    ]
    answer = client.post("/api/tasks/ack", json={"acks": acks})
    assert answer.status_code == 200
    outcomes = ["done", "done", "stale", "unknown", "unknown", "unknown"]
    assert answer.json()["data"] == [
        {"claim": ack["claim"], "outcome": outcome} for ack, outcome in zip(acks, outcomes, strict=True)
    ]
    states = [client.get(f"/api/tasks/{task['id']}").json()["data"]["state"] for task in (done, failed, stale)]
    assert states == ["completed", "dead", "retryable"]


def test_a_dequeue_that_is_sent_again_under_its_key_gets_the_same_tasks(client: TestClient, stage: Stage) -> None:
    stage.submit(*(new_task() for _ in range(3)))
    key = {"Idempotency-Key": "first"}
    first = dequeue(client, key, max=2)
    assert dequeue(client, key, max=2) == first
    assert len(dequeue(client, {"Idempotency-Key": "second"}, max=2)) == 1


def test_a_waiting_consumer_gets_a_task_as_soon_as_there_is_one(client: TestClient, stage: Stage) -> None:
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.extend(dequeue(client, wait_ms=60_000)))
    waiter.start()
    eventually(lambda: client.app.state.edge.bell._waiting)  # type: ignore[attr-defined]
    task = new_task()
    stage.submit(task)
    waiter.join(30)
    assert [one["id"] for one in found] == [task.id]


def test_who_has_waited_longest_is_served_first_and_no_more_are_rung_for_than_there_are_tasks(
    client: TestClient, stage: Stage, actors: PlayedActors
) -> None:
    found: list[tuple[int, Any]] = []
    threads = []
    for number in range(4):
        waiter = threading.Thread(target=lambda n=number: found.append((n, dequeue(client, wait_ms=60_000))))
        waiter.start()
        threads.append(waiter)
        eventually(lambda n=number: len(client.app.state.edge.bell._waiting.get("mail", ())) == n + 1)  # type: ignore[attr-defined, misc]
    for number in range(4):
        stage.submit(new_task())
        eventually(lambda n=number: len(found) == n + 1)  # type: ignore[misc]
    assert [number for number, _ in found] == [0, 1, 2, 3]
    for thread in threads:
        thread.join(30)


def test_waiting_ends_with_an_empty_list(client: TestClient, stage: Stage) -> None:
    assert dequeue(client, wait_ms=30) == []


def test_a_consumer_finds_a_queue_that_is_resumed(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task())
    stage.owner.set_paused(stage.now, paused=True)
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.extend(dequeue(client, wait_ms=60_000)))
    waiter.start()
    eventually(lambda: client.app.state.edge.bell._waiting)  # type: ignore[attr-defined]
    stage.owner.set_paused(stage.now, paused=False)
    waiter.join(30)
    assert len(found) == 1


def test_nothing_is_fetched_for_a_consumer_that_has_gone(client: TestClient, stage: Stage) -> None:
    edge = client.app.state.edge  # type: ignore[attr-defined]
    gone = asyncio.Event()
    sent: list[Any] = []

    async def ask() -> None:
        body = b'{"max": 1, "lease_ms": 60000, "wait_ms": 60000}'
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": MAIL, "headers": [], "query_string": b"", "app": client.app}
        asking = asyncio.ensure_future(client.app(scope, receive, send))
        while not edge.bell._waiting:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.001)
        gone.set()
        await asking

    client.portal.call(ask)  # type: ignore[union-attr]
    assert sent[0]["status"] == 200
    task = new_task()
    stage.submit(task)
    assert stage.states(task) == ["available"]
    assert not edge.bell._waiting


def test_a_store_that_is_not_available_is_answered_with_503(client: TestClient, stage: Stage, actors: PlayedActors) -> None:
    actors.answers[ExchangeTasks] = lambda _: StoreUnavailable("the disk is full")
    assert client.post(MAIL, json=ONE).status_code == HTTPStatus.SERVICE_UNAVAILABLE
    actors.answers[ExchangeTasks] = lambda _: RequestRefused(RefusalReason.SHUTTING_DOWN, "stopping")
    ack = {"claim": str(Claim("mail", 1, UNKNOWN))}
    assert client.post("/api/tasks/ack", json={"acks": [ack]}).status_code == HTTPStatus.SERVICE_UNAVAILABLE


def test_a_task_that_is_cancelled_before_it_is_shown_is_not_shown(
    client: TestClient, stage: Stage, actors: PlayedActors
) -> None:
    task = new_task()
    stage.submit(task)
    exchange = actors.answers[ExchangeTasks]

    def exchange_and_cancel(asked: ExchangeTasks) -> Any:
        reply = exchange(asked)
        stage.commands.cancel("r", (task.id,), "me", stage.now)
        return reply

    actors.answers[ExchangeTasks] = exchange_and_cancel
    assert dequeue(client) == []


def test_the_consumers_name_reaches_the_queue(client: TestClient, actors: PlayedActors, stage: Stage) -> None:
    dequeue(client, consumer="Ada's laptop", lease_ms=5, max=7)
    (want,) = actors.asked[-1].wants
    assert want == Want(want.id, 7, 5, "Ada's laptop")


def test_an_optional_field_that_is_null_is_not_given(client: TestClient, stage: Stage) -> None:
    stage.submit(new_task(), new_task())
    first, second = dequeue(client, max=2, wait_ms=None, consumer=None)
    assert say(client, first, "fail", error="no", discard=None).json()["data"]["state"] == "retryable"
    acks = {"acks": [{"claim": second["claim"], "result": None, "error": None, "discard": None}]}
    assert client.post("/api/tasks/ack", json=acks).json()["data"][0]["outcome"] == "done"
    for body in ({"max": None}, {"lease_ms": None}, {"wait_ms": "1"}, {"consumer": 1}):
        assert client.post(MAIL, json={**ONE, **body}).status_code == 400
