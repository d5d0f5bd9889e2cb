"""POST /api/tasks with an Idempotency-Key: the same request under the same key is done once."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.messages import Outcome, Verdict
from tests.http.edges import PlayedActors


def post(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/api/tasks", json=body, headers=headers)


def test_a_repeat_under_the_same_key_answers_200_with_the_first_task(client: TestClient, actors: PlayedActors) -> None:
    first = post(client, {"queue": "sleep"}, **{"Idempotency-Key": "k1"})
    actors.verdicts["sleep"] = [Verdict(Outcome.REPLAYED, (first.json()["data"]["id"],))]
    again = post(client, {"queue": "sleep"}, **{"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert actors.submitted[0].key == "k1"
    assert actors.submitted[0].fingerprint == actors.submitted[1].fingerprint != ""


def test_a_repeat_of_a_task_that_is_gone_answers_as_the_first_time(client: TestClient, actors: PlayedActors) -> None:
    gone = "01a200eb-47b3-7320-aa42-80672a02bc74"
    actors.verdicts["sleep"] = [Verdict(Outcome.REPLAYED, (gone,))]
    again = post(client, {"queue": "sleep"}, **{"Idempotency-Key": "k1"})
    assert again.status_code == 200
    assert again.json()["data"]["id"] == gone


def test_the_fingerprint_ignores_the_order_of_keys_and_nothing_else(client: TestClient, actors: PlayedActors) -> None:
    bodies: list[Any] = [
        {"queue": "sleep", "context": {"a": 1, "b": 2}},
        {"context": {"b": 2, "a": 1}, "queue": "sleep"},
        {"queue": "sleep", "context": {"a": 1, "b": 3}},
    ]
    for body in bodies:
        post(client, body, **{"Idempotency-Key": "k"})
    same, too, other = [submission.fingerprint for submission in actors.submitted]
    assert same == too != other


def test_a_key_of_another_request_is_answered_with_422(client: TestClient, actors: PlayedActors) -> None:
    actors.verdicts["sleep"] = [Verdict(Outcome.CONFLICT)]
    assert post(client, {"queue": "sleep"}, **{"Idempotency-Key": "k1"}).status_code == 422


@pytest.mark.parametrize("key", ["", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    answer = client.post("/api/tasks", json={"queue": "sleep"}, headers={b"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 400
