"""POST /api/event/v1 without actors: what it needs, and what becomes of failures."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestRefused, StoreUnavailable
from callboard.actors.messages import MakeQueue, QueuePut, RefusalReason
from callboard.conf.settings import QueueSettings, Settings
from tests.http.edges import PlayedActors, app_over

EVENT = {"user_id": 1, "priority": 2, "event_data": {}, "event_type_id": 5}
DELETED = RequestRefused(RefusalReason.UNKNOWN_QUEUE, "unknown queue 'event-5'")
SETTINGS = Settings.model_validate({"templates": {"event": {"worker": "callboard.actors.samples:Event"}}})


@pytest.fixture
def events(actors: PlayedActors) -> Iterator[TestClient]:
    def make(asked: MakeQueue) -> QueuePut:
        actors.add(asked.queue, asked.settings)
        return QueuePut(asked.request_id, asked.queue, created=True)

    actors.answers[MakeQueue] = make
    with TestClient(app_over(actors, SETTINGS), base_url="http://localhost") as client:
        yield client


def test_without_a_template_the_route_is_off(client: TestClient) -> None:
    answer = client.post("/api/event/v1", json=EVENT)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert "[templates.event]" in answer.text


def test_only_the_first_event_has_its_queue_made(events: TestClient, actors: PlayedActors) -> None:
    for _ in range(3):
        assert events.post("/api/event/v1", json=EVENT).status_code == 200
    (made,) = actors.asked
    assert (made.queue, made.settings.max_retries, made.settings.backoff.strategy) == ("event-5", 5, "none")
    assert [submission.tasks[0].priority for submission in actors.submitted] == [-2] * 3


def test_an_event_has_its_queue_made_anew_that_was_known_here_and_deleted_elsewhere(
    events: TestClient, actors: PlayedActors
) -> None:
    assert events.post("/api/event/v1", json=EVENT).status_code == 200
    actors.verdicts["event-5"] = [DELETED]
    answer = events.post("/api/event/v1", json=EVENT)
    assert answer.status_code == 200, answer.text
    assert [type(message) for message in actors.asked] == [MakeQueue] * 2
    assert len(actors.submitted) == 3


def test_an_event_whose_queue_is_deleted_again_and_again_is_refused(events: TestClient, actors: PlayedActors) -> None:
    assert events.post("/api/event/v1", json=EVENT).status_code == 200
    actors.verdicts["event-5"] = [DELETED, DELETED]
    answer = events.post("/api/event/v1", json=EVENT)
    assert (answer.status_code, actors.verdicts["event-5"]) == (500, [])
    assert "unknown queue 'event-5'" in answer.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreUnavailable("disk full"), "The store is not available: disk full"),
        (RequestRefused(RefusalReason.SHUTTING_DOWN, "the server is shutting down"), "the server is shutting down"),
    ],
    ids=["store", "stopping"],
)
def test_what_keeps_an_event_out_is_said_in_plain_text(
    events: TestClient, actors: PlayedActors, error: Exception, said: str
) -> None:
    actors.verdicts["event-5"] = [error]
    answer = events.post("/api/event/v1", json=EVENT)
    assert (answer.status_code, answer.text) == (500, said)


def test_a_queue_that_can_not_be_made_is_tried_again_with_the_next_event(events: TestClient, actors: PlayedActors) -> None:
    willing = actors.answers[MakeQueue]
    actors.answers[MakeQueue] = lambda _: RequestRefused(RefusalReason.FAILED, "disk full")
    assert events.post("/api/event/v1", json=EVENT).text == "disk full"
    actors.answers[MakeQueue] = willing
    assert events.post("/api/event/v1", json=EVENT).status_code == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"user_id":1,"priority":1,"event_data":{"e":1e999},"event_type_id":5}', "event_data"),
        (b'{"user_id":1,"priority":1,"event_data":[-1e999],"event_type_id":5}', "event_data"),
        (b'{"user_id":1,"priority":1,"event_data":{},"event_type_id":5,"more":1e999}', "more"),
    ],
)
def test_v7_02_an_event_that_can_not_be_kept_is_malformed(
    events: TestClient, actors: PlayedActors, content: bytes, field: str
) -> None:
    answer = events.post("/api/event/v1", content=content)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert answer.text.startswith(f"{field} can't be written as JSON: ")
    assert "context" not in answer.text
    assert not actors.submitted


def test_a_queue_that_has_no_worker_for_events_is_no_fault_of_the_sender(events: TestClient, actors: PlayedActors) -> None:
    actors.add("event-5", QueueSettings(types={"A": "callboard.actors.samples:Event"}))
    answer = events.post("/api/event/v1", json=EVENT)
    assert (answer.status_code, "can't be blank: the queue has the types A" in answer.text) == (500, True)
