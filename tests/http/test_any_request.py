"""Whatever a request says in the document's terms, it gets an answer that the document describes, and never a 500."""

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_schema_validator import OAS31Validator
from starlette.testclient import TestClient

from callboard.actors.messages import (
    CancelTasks,
    DeadPurged,
    DeleteQueue,
    DescribeQueue,
    DrainQueue,
    EditTask,
    ExchangeTasks,
    Given,
    ListQueues,
    MakeQueue,
    PauseQueue,
    Ping,
    Pong,
    PurgeDead,
    PutQueue,
    QueueDeleted,
    QueueDescribed,
    QueuePut,
    QueuesListed,
    ResumeQueue,
    RetryTasks,
    ScaleQueue,
    Settled,
    TasksChanged,
    TasksExchanged,
)
from callboard.http.endpoints import ENDPOINTS, Endpoint
from callboard.http.openapi import document
from tests.http.edges import PlayedActors, status_of
from tests.http.some_tasks import changing

DOCUMENT = json.loads(document(ENDPOINTS))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(autouse=True)
def willing_actors(actors: PlayedActors) -> None:
    """Every message is answered."""
    for message in (DescribeQueue, PauseQueue, ResumeQueue, DrainQueue, ScaleQueue):
        actors.answers[message] = lambda asked: QueueDescribed(asked.request_id, status_of(asked.queue))
    actors.answers[RetryTasks] = actors.answers[CancelTasks] = changing(lambda _: None)
    actors.answers[ExchangeTasks] = lambda asked: TasksExchanged(
        asked.request_id, (Settled.DONE,) * len(asked.settlements), (Given(),) * len(asked.wants)
    )
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, tuple(actors.queues), {})

    def put(asked: PutQueue) -> QueuePut:
        actors.add(asked.queue, asked.settings)
        return QueuePut(asked.request_id, asked.queue, created=True)

    actors.answers[PutQueue] = actors.answers[MakeQueue] = put
    actors.answers[EditTask] = lambda asked: TasksChanged(asked.request_id, (asked.task_id,), {})
    actors.answers[DeleteQueue] = lambda asked: QueueDeleted(asked.request_id, asked.queue, 0)
    actors.answers[PurgeDead] = lambda asked: DeadPurged(asked.request_id, 0)
    actors.answers[Ping] = lambda asked: Pong(asked.request_id, 1)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_any_request_gets_an_answer_that_the_document_describes(client: TestClient, endpoint: Endpoint) -> None:
    operation = SCHEMA[endpoint.path][endpoint.method]

    @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        request = case.as_transport_kwargs(base_url="http://localhost")
        answer = client.request(
            request["method"],
            request["url"],
            params=request.get("params"),
            headers=dict(request["headers"] or {}),
            **({"json": request["json"]} if "json" in request else {}),
        )
        described = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"]
        assert answer.status_code != 500
        assert str(answer.status_code) in described, answer.text
        content = described[str(answer.status_code)].get("content")
        if content is not None and "json" in answer.headers["content-type"]:
            schema = content[answer.headers["content-type"]]["schema"] | {"components": DOCUMENT["components"]}
            OAS31Validator(schema).validate(json.loads(answer.content))

    ask()
