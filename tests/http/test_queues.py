"""Looking at queues, making, changing, commanding and deleting them."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.messages import (
    DeleteQueue,
    DescribeQueue,
    DrainQueue,
    ListQueues,
    PauseQueue,
    PutQueue,
    QueueDeleted,
    QueueDescribed,
    QueuePut,
    QueuesListed,
    RefusalReason,
    ResumeQueue,
    ScaleQueue,
)
from callboard.actors.task import TaskState
from tests.http.edges import SLEEP, PlayedActors, status_of


@pytest.fixture(autouse=True)
def owners(actors: PlayedActors) -> None:
    """All queues answer all questions."""
    for message in (DescribeQueue, PauseQueue, ResumeQueue, DrainQueue, ScaleQueue):
        actors.answers[message] = lambda asked: QueueDescribed(asked.request_id, status_of(asked.queue))
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, tuple(actors.queues), {})

    def put(asked: PutQueue) -> QueuePut:
        created = asked.queue not in actors.queues
        actors.add(asked.queue, asked.settings)
        return QueuePut(asked.request_id, asked.queue, created)

    actors.answers[PutQueue] = put
    actors.answers[DeleteQueue] = lambda asked: QueueDeleted(asked.request_id, asked.queue, 0)


def test_a_queue_is_shown_with_everything_about_it(client: TestClient) -> None:
    queue = client.get("/api/queues/sleep").json()["data"]
    assert (queue["name"], queue["state"], queue["pid"]) == ("sleep", "running", 11)
    assert queue["counts"] == {state.value: 0 for state in TaskState}
    assert queue["settings"]["timeout"] == "1m"
    assert queue["rates"] == {"submitted": 1.5, "completed": 1.0, "failed": 0.0}
    assert [worker["pid"] for worker in queue["workers"]] == [12]


def test_all_queues_are_listed_by_name(client: TestClient) -> None:
    assert [queue["name"] for queue in client.get("/api/queues").json()["data"]] == ["dead_letter", "sleep", "typed"]


def test_all_workers_are_listed_with_their_queues(client: TestClient) -> None:
    workers = client.get("/api/workers").json()["data"]
    assert [worker["queue"] for worker in workers] == ["dead_letter", "sleep", "typed"]


@pytest.mark.parametrize(
    "failure",
    [
        RequestTimedOut("it does not answer"),  # stopped, or too busy
        RequestRefused(RefusalReason.STARTING, "it is starting"),  # not up yet
    ],
)
def test_a_queue_whose_owner_can_not_be_asked_is_shown_degraded_from_the_store(
    client: TestClient, actors: PlayedActors, failure: Exception
) -> None:
    client.post("/api/tasks", json={"queue": "sleep"})
    actors.answers[DescribeQueue] = lambda _: failure
    queue = client.get("/api/queues/sleep").json()["data"]
    assert (queue["state"], queue["why"], queue["pid"]) == ("degraded", str(failure), None)
    assert queue["counts"]["available"] == 1
    assert queue["settings"]["worker"] == SLEEP


def test_a_queue_that_the_registry_knows_to_be_down_is_not_asked(client: TestClient, actors: PlayedActors) -> None:
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, ("sleep",), {"sleep": "no disk"})
    (queue,) = client.get("/api/queues").json()["data"]
    assert (queue["state"], queue["why"]) == ("degraded", "no disk")
    assert not [asked for asked in actors.asked if isinstance(asked, DescribeQueue)]


def test_a_queue_that_another_server_owns_stands_by(client: TestClient, actors: PlayedActors) -> None:
    why = "another server owns queue 'sleep'"
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, ("sleep",), {"sleep": why}, ("sleep",))
    actors.answers[DescribeQueue] = lambda _: RequestRefused(RefusalReason.STANDBY, why)
    (listed,) = client.get("/api/queues").json()["data"]
    shown = client.get("/api/queues/sleep").json()["data"]
    assert [(queue["state"], queue["why"]) for queue in (listed, shown)] == [("standby", why)] * 2


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),  # look
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/drain"),
        ("POST", "/scale"),
    ],
)
def test_an_unknown_queue_is_answered_with_404(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"/api/queues/nowhere{path}", json={"concurrency": 1} if path == "/scale" else None)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("path", "message"), [("pause", PauseQueue), ("resume", ResumeQueue), ("drain", DrainQueue), ("scale", ScaleQueue)]
)
def test_a_command_reaches_the_owner_and_is_answered_with_the_queue(
    client: TestClient, actors: PlayedActors, path: str, message: type
) -> None:
    answer = client.post(f"/api/queues/sleep/{path}", json={"concurrency": 0})
    assert (answer.status_code, answer.json()["data"]["name"]) == (200, "sleep")
    assert type(actors.asked[-1]) is message


@pytest.mark.parametrize(
    ("path", "done"),
    [
        ("pause", "paused"),
        ("resume", "resumed"),
        ("drain", "drained"),
        ("scale", "scaled"),
        ("dequeue", "fetched from"),
    ],
)
def test_jqs_21_the_dead_letter_takes_no_commands_and_gives_nothing(
    client: TestClient, actors: PlayedActors, path: str, done: str
) -> None:
    answer = client.post(f"/api/queues/dead_letter/{path}", json={"concurrency": 1})
    why = f"dead_letter is always there and can't be {done}"
    assert (answer.status_code, answer.json()["detail"], answer.json()["errors"]) == (400, f"{why}.", {"name": [why]})
    assert not actors.asked


@pytest.mark.parametrize("concurrency", [-1, 10_001, "3", 1.0, True, None])
def test_a_wrong_concurrency_is_refused(client: TestClient, concurrency: Any) -> None:
    answer = client.post("/api/queues/sleep/scale", json={"concurrency": concurrency})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["concurrency"]


def test_a_queue_is_made_and_changed(client: TestClient, actors: PlayedActors) -> None:
    made = client.put("/api/queues/fresh", json={"worker": SLEEP, "backoff": {"base": "2s"}})
    assert made.status_code == 201
    assert made.json()["data"]["settings"]["backoff"]["base"] == "2s"
    assert client.put("/api/queues/fresh", json={"concurrency": 0}).status_code == 200
    assert actors.forgotten == ["fresh", "fresh"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"concurency": 1}, {"concurency": ["unknown option, did you mean concurrency?"]}),  # misspelt
        ({"backoff": {"bass": "1s"}}, {"backoff": {"bass": ["unknown option, did you mean base?"]}}),  # misspelt below
        ({"concurrency": -1}, {"concurrency": ["must be greater than or equal to 0"]}),  # negative
        ({"timeout": "soon"}, None),  # not a duration
        ({"timeout": 5}, None),  # a duration without its unit
        ({"slots": 0}, {"slots": ["must be greater than or equal to 1"]}),  # no room for any task
        ({"aging": "soon"}, None),  # not a duration either
        ({"worker": "nothing.there:Worker"}, None),  # can't be imported
        ({"types": {"A": SLEEP, "B": "nothing.there:B"}}, None),  # one of them can't be imported
        ({"worker": "no colon"}, None),  # not a path
        ({"worker": "logging.config:dictConfig"}, None),  # can be called, but nobody wrote it as a handler
        ({"types": {"A": "subprocess:Popen"}}, None),  # a class that is no Worker
    ],
)
def test_a_wrong_definition_is_refused_and_changes_nothing(
    client: TestClient, actors: PlayedActors, body: Any, errors: Any
) -> None:
    answer = client.put("/api/queues/fresh", json=body)
    assert answer.status_code == 400
    found = answer.json()["errors"]
    assert found == errors if errors else list(found) == list(body)
    assert not actors.asked


def test_the_error_of_a_type_that_can_not_be_imported_stands_under_its_name(client: TestClient) -> None:
    answer = client.put("/api/queues/fresh", json={"types": {"A": SLEEP, "B": "nothing.there:B"}})
    assert list(answer.json()["errors"]["types"]) == ["B"]


@pytest.mark.parametrize("name", ["dead_letter", "Upper", "-x", "x" * 64, "a%20b", "ä"])
def test_a_queue_can_not_have_every_name(client: TestClient, actors: PlayedActors, name: str) -> None:
    answer = client.put(f"/api/queues/{name}", json={})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["name"]
    assert not actors.asked


def test_a_queue_is_deleted_and_forgotten(client: TestClient, actors: PlayedActors) -> None:
    answer = client.delete("/api/queues/sleep")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (actors.asked[-1].force, actors.forgotten) == (False, ["sleep"])
    client.delete("/api/queues/sleep?force=true")
    assert actors.asked[-1].force is True


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (RefusalReason.NOT_EMPTY, 409),  # unless forced
        (RefusalReason.UNKNOWN_QUEUE, 404),  # not there
        (RefusalReason.INVALID, 400),  # the dead letter
    ],
)
def test_a_deletion_that_the_registry_refuses_is_answered_with_why(
    client: TestClient, actors: PlayedActors, reason: RefusalReason, status: int
) -> None:
    actors.answers[DeleteQueue] = lambda _: RequestRefused(reason, "it is not to be")
    answer = client.delete("/api/queues/sleep")
    assert (answer.status_code, answer.json()["detail"]) == (status, "it is not to be")


def test_force_is_true_or_false(client: TestClient) -> None:
    assert client.delete("/api/queues/sleep?force=maybe").status_code == 400
