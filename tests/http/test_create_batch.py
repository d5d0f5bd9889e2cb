"""POST /api/tasks/batch: all or nothing in validation, one transaction a queue, and the truth about what was stored."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.caller import SettingsChanged
from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.messages import Outcome, RefusalReason, Verdict
from callboard.conf.settings import QueueSettings
from tests.http.edges import SLEEP, PlayedActors


def post(client: TestClient, tasks: Any, **headers: str) -> Any:
    return client.post("/api/tasks/batch", json={"tasks": tasks}, headers=headers)


def test_a_batch_for_two_queues_is_one_submission_each_and_answered_in_its_order(
    client: TestClient, actors: PlayedActors
) -> None:
    wanted = [{"queue": name, "context": {"n": n}} for n, name in enumerate(["sleep", "dead_letter"] * 3)]
    answer = post(client, wanted)
    assert answer.status_code == 201
    shown = [(task["queue"], task["context"]) for task in answer.json()["data"]]
    assert shown == [(task["queue"], task["context"]) for task in wanted]
    assert [len(submission.tasks) for submission in actors.submitted] == [3, 3]


def test_an_empty_batch_is_accepted(client: TestClient) -> None:
    answer = post(client, [])
    assert (answer.status_code, answer.json()) == (201, {"data": []})


def test_one_bad_task_among_a_thousand_keeps_all_of_them_out(client: TestClient, actors: PlayedActors) -> None:
    wanted: list[Any] = [{"queue": "sleep"}] * 1000
    wanted[617] = {"queue": "sleep", "options": {"max_retries": "many"}}
    answer = post(client, wanted)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"tasks": {"617": {"options": {"max_retries": ["must be an integer"]}}}}
    assert not actors.submitted


def test_every_task_that_its_queue_does_not_take_is_named(client: TestClient, actors: PlayedActors) -> None:
    answer = post(
        client,
        [
            {"queue": "sleep"},
            {"queue": "nowhere"},
            {"queue": "typed", "type": "X"},
            {"queue": "nowhere"},
            {"queue": "typed"},
        ],
    )
    errors = answer.json()["errors"]["tasks"]
    assert {index: list(found) for index, found in errors.items()} == {
        "1": ["queue"],
        "2": ["type"],
        "3": ["queue"],
        "4": ["type"],
    }
    assert not actors.submitted


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"tasks": ["can't be blank"]}),  # missing
        ({"tasks": {}}, {"tasks": ["must be a list"]}),  # an object
        ({"tasks": [1]}, {"tasks": {"0": ["must be an object"]}}),  # not tasks
        ({"tasks": [{"queue": "sleep"}] * 10_001}, {"tasks": ["must have at most 10000 entries"]}),  # too many
        ({"task": []}, {"tasks": ["can't be blank"], "task": ["unknown option, did you mean tasks?"]}),  # misspelt
    ],
)
def test_a_body_that_is_no_batch_is_refused(client: TestClient, body: Any, errors: Any) -> None:
    answer = client.post("/api/tasks/batch", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"] == errors


def test_ten_thousand_tasks_are_taken_in_one_submission(client: TestClient, actors: PlayedActors) -> None:
    answer = post(client, [{"queue": "sleep"}] * 10_000)
    assert answer.status_code == 201
    assert [len(submission.tasks) for submission in actors.submitted] == [10_000]


@pytest.mark.parametrize(
    "failure",
    [
        RequestTimedOut("no answer"),  # nobody knows
        RequestRefused(RefusalReason.STORE_UNAVAILABLE, "disk full"),  # not stored
        ZeroDivisionError("a bug"),  # ours
        Verdict(Outcome.FULL, (), "full"),  # no room
    ],
)
def test_a_queue_that_could_not_store_its_part_is_answered_with_what_was_stored(
    client: TestClient, actors: PlayedActors, failure: Any
) -> None:
    actors.verdicts["typed"] = [failure]
    answer = post(client, [{"queue": "sleep"}, {"queue": "typed", "type": "SendEmail"}, {"queue": "sleep"}])
    assert answer.status_code == 503
    problem = answer.json()
    assert [stored["index"] for stored in problem["stored"]] == [0, 2]
    assert problem["not_stored"] == [1]
    for stored in problem["stored"]:
        assert client.get(f"/api/tasks/{stored['id']}").status_code == 200


def test_a_batch_of_which_nothing_was_stored_is_answered_with_the_reason(client: TestClient, actors: PlayedActors) -> None:
    actors.verdicts["sleep"] = [Verdict(Outcome.FULL, (), "full")]
    answer = post(client, [{"queue": "sleep"}])
    assert answer.status_code == 429
    assert answer.json()["not_stored"] == [0]


def test_a_repeat_under_the_same_key_completes_what_was_not_stored(client: TestClient, actors: PlayedActors) -> None:
    wanted = [{"queue": "sleep"}, {"queue": "dead_letter"}]
    actors.verdicts["dead_letter"] = [RequestTimedOut("no answer")]
    first = post(client, wanted, **{"Idempotency-Key": "b"}).json()
    actors.verdicts["sleep"] = [Verdict(Outcome.REPLAYED, (first["stored"][0]["id"],))]
    second = post(client, wanted, **{"Idempotency-Key": "b"})
    assert second.status_code == 201
    assert second.json()["data"][0]["id"] == first["stored"][0]["id"]
    assert {submission.key for submission in actors.submitted} == {"b"}


def test_a_whole_repeat_is_answered_with_200(client: TestClient, actors: PlayedActors) -> None:
    first = post(client, [{"queue": "sleep"}] * 2, **{"Idempotency-Key": "b"}).json()["data"]
    actors.verdicts["sleep"] = [Verdict(Outcome.REPLAYED, tuple(task["id"] for task in first))]
    again = post(client, [{"queue": "sleep"}] * 2, **{"Idempotency-Key": "b"})
    assert (again.status_code, again.json()["data"]) == (200, first)


def test_a_key_of_another_batch_is_answered_with_422(client: TestClient, actors: PlayedActors) -> None:
    actors.verdicts["sleep"] = [Verdict(Outcome.CONFLICT)]
    assert post(client, [{"queue": "sleep"}], **{"Idempotency-Key": "b"}).status_code == 422


def test_a_part_is_built_again_when_its_queues_settings_have_just_changed(client: TestClient, actors: PlayedActors) -> None:
    actors.verdicts["sleep"] = [SettingsChanged(actors.add("sleep", QueueSettings(worker=SLEEP, max_retries=7)))]
    assert post(client, [{"queue": "sleep"}]).json()["data"][0]["max_retries"] == 7
