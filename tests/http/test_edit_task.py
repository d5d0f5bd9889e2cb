"""PATCH /api/tasks/{id}: what it takes, and what it asks the owner for."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.messages import EditTask, TasksChanged
from callboard.actors.task import format_time
from tests.http.edges import PlayedActors
from tests.http.some_tasks import UNKNOWN, create

LATER = 1_900_000_000_000_000


def played(actors: PlayedActors, state: str | None = None) -> None:
    """Play an owner: it changes the task, or has it in a state that keeps it from that."""

    def answer(asked: EditTask) -> TasksChanged:
        changed = (asked.task_id,) if state is None else ()
        return TasksChanged(asked.request_id, changed, {} if state is None else {asked.task_id: state})

    actors.answers[EditTask] = answer


def asked(actors: PlayedActors) -> tuple[Any, ...]:
    message = actors.asked[-1]
    return message.queue, message.priority, message.run_at, message.to_queue


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"priority": "high"}, ("sleep", 1, None, "sleep")),
        ({"priority": -3, "queue": "sleep"}, ("sleep", -3, None, "sleep")),
        ({"run_at": format_time(LATER)}, ("sleep", None, LATER, "sleep")),
        ({"queue": "same", "priority": None}, ("sleep", None, None, "same")),
        ({"queue": "dead_letter", "run_at": format_time(LATER)}, ("sleep", None, LATER, "dead_letter")),
    ],
)
def test_what_is_given_is_asked_of_the_tasks_owner(
    client: TestClient, actors: PlayedActors, body: Any, wanted: tuple[Any, ...]
) -> None:
    played(actors)
    actors.add("same", actors.queues["sleep"].settings)
    (task_id,) = create(client)
    answer = client.patch(f"/api/tasks/{task_id}", json=body)
    assert (answer.status_code, answer.json()["data"]["id"]) == (200, task_id)
    assert asked(actors) == wanted


def test_a_delay_counts_from_now(client: TestClient, actors: PlayedActors) -> None:
    played(actors)
    (task_id,) = create(client)
    for delay in (0, 60_000):
        before = actors.store.get(task_id)
        assert before is not None
        assert client.patch(f"/api/tasks/{task_id}", json={"delay_ms": delay}).status_code == 200
        assert asked(actors)[2] >= before.created_at + 1_000 * delay


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"body": ["must have priority, queue, run_at or delay_ms"]}),
        ({"priority": None}, {"body": ["must have priority, queue, run_at or delay_ms"]}),
        ({"prority": 1}, {"prority": ["unknown option, did you mean priority?"]}),
        ({"delay_ms": -1}, {"delay_ms": ["must be greater than or equal to 0"]}),
        ({"delay_ms": 1, "run_at": format_time(LATER)}, {"run_at": ["must not be given together with delay_ms"]}),
        ({"queue": ""}, {"queue": ["can't be blank"]}),
        ({"queue": "slep"}, {"queue": ["unknown queue 'slep', did you mean 'sleep'?"]}),
        ({"queue": "typed"}, {"queue": ["unknown type 'callboard.actors.samples:Sleep' in queue 'typed': "]}),
    ],
)
def test_what_it_does_not_take(client: TestClient, actors: PlayedActors, body: Any, errors: Any) -> None:
    (task_id,) = create(client)
    answer = client.patch(f"/api/tasks/{task_id}", json=body)
    assert answer.status_code == 400
    ((field, (message,)),) = answer.json()["errors"].items()
    ((expected, (beginning,)),) = errors.items()
    assert (field, message.startswith(beginning)) == (expected, True)
    assert actors.asked == []


def test_a_task_without_a_type_can_not_be_moved_where_types_are_known(client: TestClient, actors: PlayedActors) -> None:
    (task_id,) = create(client, "dead_letter")
    answer = client.patch(f"/api/tasks/{task_id}", json={"queue": "sleep"})
    assert answer.status_code == 400
    assert "the task has no type" in answer.json()["errors"]["queue"][0]


@pytest.mark.parametrize("state", ["executing", "completed", "dead", "cancelled"])
def test_a_task_that_does_not_wait_is_answered_with_409(client: TestClient, actors: PlayedActors, state: str) -> None:
    played(actors, state)
    (task_id,) = create(client)
    answer = client.patch(f"/api/tasks/{task_id}", json={"priority": 1})
    assert (answer.status_code, answer.json()["state"]) == (409, state)
    assert answer.json()["detail"].endswith("Only a task that waits can be changed.")


def test_an_unknown_task_is_answered_with_404(client: TestClient, actors: PlayedActors) -> None:
    played(actors, "")
    assert client.patch(f"/api/tasks/{UNKNOWN}", json={"priority": 1}).status_code == 404
    (task_id,) = create(client)  # it was there when it was looked up
    assert client.patch(f"/api/tasks/{task_id}", json={"priority": 1}).status_code == 404


def test_a_task_that_was_moved_just_now_is_changed_in_its_new_queue(client: TestClient, actors: PlayedActors) -> None:
    actors.add("same", actors.queues["sleep"].settings)
    (task_id,) = create(client)

    def answer(asked: EditTask) -> TasksChanged:
        if asked.queue == "same":
            return TasksChanged(asked.request_id, (asked.task_id,), {})
        owner = actors.owners["sleep"]
        with owner.transaction() as transaction:
            transaction.move(owner.load([task_id])[0], "same", 0, 1)
        return TasksChanged(asked.request_id, (), {asked.task_id: ""})

    actors.answers[EditTask] = answer
    answered = client.patch(f"/api/tasks/{task_id}", json={"priority": 1})
    assert (answered.status_code, answered.json()["data"]["queue"]) == (200, "same")
