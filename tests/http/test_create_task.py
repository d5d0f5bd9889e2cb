"""POST /api/tasks: what it takes, what it answers, and what it says of everything else."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.caller import SettingsChanged
from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.messages import Outcome, RefusalReason, Verdict
from callboard.conf.settings import QueueSettings
from tests.http.edges import SLEEP, PlayedActors

MAX_BODY = 1024 * 1024
AS_JSON = {"content-type": "application/json"}


def post(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/api/tasks", json=body, headers=headers)


def test_jqs_01_a_task_is_created_with_its_queues_defaults(client: TestClient) -> None:
    answer = post(client, {"queue": "sleep"})
    assert answer.status_code == 201
    task = answer.json()["data"]
    assert answer.headers["location"] == f"/api/tasks/{task['id']}"
    expected = {"queue": "sleep", "priority": "low", "context": {}, "max_retries": 3, "backoff_ms": 1000}
    assert {name: task[name] for name in expected} == expected
    assert task["type"] == SLEEP
    assert task["state"] == "available"


def test_the_answer_is_what_a_read_shows_afterwards(client: TestClient) -> None:
    created = post(client, {"queue": "sleep", "context": {"a": [1, None]}, "options": {"priority": 7}}).json()["data"]
    assert client.get(f"/api/tasks/{created['id']}").json()["data"] == created


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"queue": ["can't be blank"]}),  # missing
        ({"queue": None}, {"queue": ["can't be blank"]}),  # null
        ({"queue": "  "}, {"queue": ["can't be blank"]}),  # blank
        ({"queue": 5}, {"queue": ["must be a string"]}),  # another type
        ({"queue": "slep"}, {"queue": ["unknown queue 'slep', did you mean 'sleep'?"]}),  # the nearest is named
        ({"queue": "sleep", "context": []}, {"context": ["must be an object"]}),  # context: a list
        ({"queue": "sleep", "context": "x"}, {"context": ["must be an object"]}),  # context: a text
        ({"queue": "sleep", "context": None}, {"context": ["must be an object"]}),  # context: null
        ({"queue": "sleep", "options": 3}, {"options": ["must be an object"]}),  # options: a number
        ({"queue": "sleep", "opions": {}}, {"opions": ["unknown option, did you mean options?"]}),  # unknown at the top
        (
            {"queue": "sleep", "options": {"max_retrys": 1}},  # unknown below
            {"options": {"max_retrys": ["unknown option, did you mean max_retries?"]}},
        ),
        (
            {"queue": "sleep", "options": {"backoff": {"bas_ms": 1}}},  # unknown two below
            {"options": {"backoff": {"bas_ms": ["unknown option, did you mean base_ms?"]}}},
        ),
        ({"queue": "sleep", "type": "Slep"}, None),  # unknown type
        ({"queue": "typed"}, None),  # a queue without a default type needs one
    ],
)
def test_jqs_02_03_a_wrong_body_is_refused_field_by_field(client: TestClient, body: Any, errors: Any) -> None:
    answer = post(client, body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    if errors is None:
        assert list(problem["errors"]) == ["type"]
    else:
        assert problem["errors"] == errors


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"max_retries": "3"}, "max_retries", "must be an integer"),  # a text
        ({"max_retries": True}, "max_retries", "must be an integer"),  # a bool is not an integer
        ({"max_retries": 3.0}, "max_retries", "must be an integer"),  # nor is a float
        ({"max_retries": -1}, "max_retries", "must be greater than or equal to 0"),  # below the range
        ({"max_retries": 100}, "max_retries", "must be less than or equal to 99"),  # above the range
        ({"max_attempts": 0}, "max_attempts", "must be greater than or equal to 1"),  # below the range
        ({"max_attempts": 101}, "max_attempts", "must be less than or equal to 100"),  # above the range
        ({"max_retries": 3, "max_attempts": 3}, "max_attempts", "must be max_retries + 1 where both are given"),
        ({"backoff_ms": -1}, "backoff_ms", "must be greater than or equal to 0"),  # seed 1's words
        ({"backoff_ms": 10**30}, "backoff_ms", "must be less than or equal to 3153600000000"),  # beyond any store's integers
        ({"priority": "urgent"}, "priority", None),  # no such name
        ({"priority": 1.5}, "priority", None),  # not an integer
        ({"priority": 2**53}, "priority", None),  # too large
        ({"timeout_ms": 0}, "timeout_ms", "must be greater than 0"),  # no time at all
        ({"delay_ms": -5}, "delay_ms", "must be greater than or equal to 0"),  # the past
        ({"run_at": "tomorrow"}, "run_at", None),  # not a time
        ({"run_at": "2026-01-31T09:15:00"}, "run_at", None),  # no offset
        ({"run_at": 12}, "run_at", None),  # not a text
        ({"delay_ms": 1, "run_at": "2026-01-31T09:15:00Z"}, "run_at", "must not be given together with delay_ms"),
        ({"backoff": {"strategy": "cubic"}}, "backoff", None),  # no such strategy
        ({"backoff": {"jitter": 2}}, "backoff", None),  # out of range
        ({"backoff": {"factor": "2"}}, "backoff", None),  # a text
        ({"backoff_ms": 1, "backoff": {"base_ms": 2}}, "backoff", "base_ms must be backoff_ms where both are given"),
    ],
)
def test_jqs_04_05_06_a_wrong_option_is_refused_by_name(
    client: TestClient, options: Any, field: str, message: str | None
) -> None:
    answer = post(client, {"queue": "sleep", "options": options})
    assert answer.status_code == 400
    errors = answer.json()["errors"]["options"]
    assert list(errors) == [field]
    if message is not None:
        assert errors[field] == [message]


@pytest.mark.parametrize("options", [None, {}, {"max_retries": None, "priority": None, "backoff": None}])
def test_jqs_07_options_that_are_absent_or_null_take_the_defaults(client: TestClient, options: Any) -> None:
    task = post(client, {"queue": "sleep", "options": options}).json()["data"]
    assert (task["max_retries"], task["backoff_ms"], task["priority"]) == (3, 1000, "low")


def test_jqs_08_the_context_is_stored_unchanged(client: TestClient, actors: PlayedActors) -> None:
    context = {"big": 2**80, "deep": {"a": [{"b": None}]}, "text": "ä\u0000\ud800😀", "tiny": 1e-300, "": True}
    answer = client.post("/api/tasks", content=json.dumps({"queue": "sleep", "context": context}))
    assert answer.status_code == 201
    assert json.loads(actors.submitted[0].tasks[0].context) == context
    assert json.loads(client.get(answer.headers["location"]).content)["data"]["context"] == context


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_attempts": 20}, {"max_retries": 19}),  # the other spelling
        ({"max_retries": 0, "max_attempts": 1}, {"max_retries": 0}),  # both, agreeing
        ({"priority": "high"}, {"priority": "high"}),  # by name
        ({"priority": 1}, {"priority": "high"}),  # by number
        ({"priority": -3}, {"priority": -3}),  # any other integer
        ({"backoff_ms": 0}, {"backoff_ms": 0}),  # no wait
        ({"timeout_ms": 200}, {"timeout_ms": 200}),  # its own timeout
        ({"run_at": "2020-01-01T00:00:00Z"}, {"state": "available"}),  # a time that has passed
        ({"run_at": "2099-01-01T00:00:00+01:00"}, {"state": "scheduled", "run_at": "2098-12-31T23:00:00.000Z"}),
        ({"delay_ms": 60_000}, {"state": "scheduled"}),  # later
        ({"delay_ms": 0}, {"state": "available"}),  # at once
    ],
)
def test_options_are_taken_over(client: TestClient, options: Any, expected: Any) -> None:
    task = post(client, {"queue": "sleep", "options": options}).json()["data"]
    assert {name: task[name] for name in expected} == expected


def test_a_partial_backoff_is_put_over_the_queues(client: TestClient, actors: PlayedActors) -> None:
    actors.add("slow", QueueSettings.model_validate({"worker": SLEEP, "backoff": {"base": "5s", "jitter": 0.5}}))
    task = post(client, {"queue": "slow", "options": {"backoff": {"strategy": "linear"}}}).json()["data"]
    assert task["backoff"] == {
        "strategy": "linear",
        "base_ms": 5000,
        "factor": 2.0,
        "cap_ms": 3_600_000,
        "jitter": 0.5,
    }


def test_jqs_20_21_the_dead_letter_takes_any_type_and_none(client: TestClient) -> None:
    assert post(client, {"queue": "dead_letter", "type": "Whatever"}).status_code == 201
    assert post(client, {"queue": "dead_letter"}).status_code == 201


def test_a_blank_type_is_refused_where_one_is_needed(client: TestClient) -> None:
    missing, blank = (post(client, {"queue": "typed", "type": type_}) for type_ in (None, ""))
    assert (blank.status_code, blank.json()) == (400, missing.json())
    assert post(client, {"queue": "sleep", "type": ""}).json()["data"]["type"] == SLEEP


@pytest.mark.parametrize("odd", ["\ud800", "a\x00b"])
def test_a_type_that_no_store_can_hold_is_refused_for_its_own_task_alone(client: TestClient, odd: str) -> None:
    body = json.dumps({"queue": "dead_letter", "type": odd})  # in ASCII, which can name what UTF-8 can't
    answer = client.post("/api/tasks", content=body, headers=AS_JSON)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["type"])
    body = json.dumps({"filter": {"type": odd}})
    found = client.post("/api/tasks/cancel", content=body, headers=AS_JSON)
    assert (found.status_code, found.json()["data"]) == (200, {"matched": 0, "changed": 0})


def test_a_type_is_chosen_by_name_and_the_nearest_is_named(client: TestClient) -> None:
    assert post(client, {"queue": "typed", "type": "SendEmail"}).json()["data"]["type"] == "SendEmail"
    answer = post(client, {"queue": "typed", "type": "SendMail"})
    assert "SendEmail" in answer.json()["errors"]["type"][0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "not-json"),  # nothing
        (b"queue=sleep", "not-json"),  # a form
        (b'{"queue": "sleep"', "not-json"),  # cut off
        (b'{"queue": "sleep", "context": {"x": NaN}}', "not-json"),  # Python would take it
        (b'{"queue": "sleep", "context": {"x": -Infinity}}', "not-json"),  # this too
        (b'\xff{"queue": "sleep"}', "not-json"),  # not UTF-8
        (b"[" * 100_000, "not-json"),  # nested without end
        (b'{"queue": "sleep", "context": {"x": 1%s}}' % (b"0" * 5000), "not-json"),  # a number that Python won't read
        (b"[1, 2]", "invalid"),  # JSON, but not an object
        (b"null", "invalid"),  # null
        (b'{"queue": "sleep", "context": {"x": 1e999}}', "invalid"),  # an infinity in disguise
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(
    client: TestClient, actors: PlayedActors, content: bytes, kind: str
) -> None:
    answer = client.post("/api/tasks", content=content)
    assert answer.status_code == 400
    assert answer.json()["type"].endswith(kind)
    assert not actors.submitted


def test_a_body_over_the_limit_is_refused_whether_its_length_is_declared_or_not(client: TestClient) -> None:
    body = b'{"queue": "sleep", "context": {"x": "' + b"y" * 2 * MAX_BODY + b'"}}'
    assert client.post("/api/tasks", content=body).status_code == 413
    assert client.post("/api/tasks", content=iter([body[:MAX_BODY], body[MAX_BODY:]])).status_code == 413
    small = client.post("/api/tasks", content=iter([b'{"queue":', b' "sleep"}']))
    assert small.status_code == 201


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (RequestTimedOut("the owner did not answer"), 503),  # nobody knows
        (RequestRefused(RefusalReason.STORE_UNAVAILABLE, "disk full"), 503),  # not stored
        (RequestRefused(RefusalReason.SHUTTING_DOWN, "bye"), 503),  # not stored
        (RequestRefused(RefusalReason.FAILED, "an error"), 500),  # ours
        (RequestRefused(RefusalReason.UNKNOWN_QUEUE, "unknown queue 'sleep'"), 400),  # deleted just now
        (ZeroDivisionError("a bug"), 500),  # never a traceback
    ],
)
def test_a_failure_of_the_actors_is_answered_as_a_problem(
    client: TestClient, actors: PlayedActors, failure: Exception, status: int
) -> None:
    actors.verdicts["sleep"] = [failure]
    answer = post(client, {"queue": "sleep"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_full_queue_is_answered_with_429_and_retry_after(client: TestClient, actors: PlayedActors) -> None:
    actors.verdicts["sleep"] = [Verdict(Outcome.FULL, (), "the queue holds its 10 tasks")]
    answer = post(client, {"queue": "sleep"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


def test_tasks_are_built_again_when_the_settings_have_just_changed(client: TestClient, actors: PlayedActors) -> None:
    found = actors.add("sleep", QueueSettings(worker=SLEEP, max_retries=9))
    actors.verdicts["sleep"] = [SettingsChanged(found)]
    assert post(client, {"queue": "sleep"}).json()["data"]["max_retries"] == 9
    assert len(actors.submitted) == 2


def test_a_type_that_the_new_settings_lack_is_refused(client: TestClient, actors: PlayedActors) -> None:
    changed = actors.add("typed", QueueSettings(types={"Other": SLEEP}))
    actors.verdicts["typed"] = [SettingsChanged(changed)]
    answer = post(client, {"queue": "typed", "type": "Other"})
    assert answer.status_code == 201
    actors.verdicts["typed"] = [SettingsChanged(actors.add("typed", QueueSettings(types={"SendEmail": SLEEP})))]
    actors.queues["typed"] = changed
    answer = post(client, {"queue": "typed", "type": "Other"})
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["type"]
