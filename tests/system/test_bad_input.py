"""What a client must not send is answered with the contract's error by a real server, and changes nothing in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from callboard.actors import Client
from tests.support import plain_http
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

NOWHERE = "01890000-0000-7000-8000-000000000000"
BATCH = "/api/tasks/batch"
NEW = ("/api/queues/new", "PUT")
DEEP = b'{"queue": "off", "context": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
CONFIG = f"""
[queues.held]
worker = "{PATH}"
concurrency = 1
timeout = "1h"
[queues.off]
concurrency = 0
"""


@dataclass(frozen=True)
class Bad:
    """A request, the status that it must get, and what must stand at this place of the problem."""

    body: bytes | dict[str, Any]
    says: str
    at: tuple[str, ...] = ("detail",)
    path: str = "/api/tasks"
    method: str = "POST"
    status: int = 400


def options(says: str, name: str, value: Any) -> Bad:
    return Bad({"queue": "off", "options": {name: value}}, says, ("errors", "options", name))


def batch(*tasks: Any) -> dict[str, Any]:
    return {"tasks": list(tasks)}


FINE = {"queue": "off"}
ONE_BAD = [{**FINE, "options": {"max_retries": -1}} if index == 637 else FINE for index in range(1_000)]
BAD = {
    "not JSON": Bad(b'{"queue": "off"', "not JSON"),
    "nothing": Bad(b"", "not JSON"),
    "not UTF-8": Bad(b'{"queue": "\xff"}', "not JSON"),
    "nested without end": Bad(DEEP, "nested too deeply"),
    "NaN": Bad(b'{"queue": "off", "context": {"share": NaN}}', "NaN is not a JSON value"),
    "Infinity": Bad(b'{"queue": "off", "context": {"share": -Infinity}}', "-Infinity is not a JSON value"),
    "two megabytes": Bad({**FINE, "context": {"text": "x" * 2_000_000}}, "larger than max_body", status=413),
    "a list": Bad(b'[{"queue": "off"}]', "must be a JSON object"),
    "a number": Bad(b"7", "must be a JSON object"),
    "queue a number": Bad({"queue": 7}, "must be a string", ("errors", "queue")),
    "queue unknown": Bad({"queue": "offf"}, "unknown queue 'offf', did you mean 'off'?", ("errors", "queue")),
    "queue no name": Bad({"queue": "../../etc/passwd"}, "unknown queue", ("errors", "queue")),
    "key unknown": Bad({"queue": "off", "contxt": {}}, "did you mean context?", ("errors", "contxt")),
    "context a list": Bad({"queue": "off", "context": [1]}, "must be an object", ("errors", "context")),
    "context a text": Bad({"queue": "off", "context": "{}"}, "must be an object", ("errors", "context")),
    "context null": Bad({"queue": "off", "context": None}, "must be an object", ("errors", "context")),
    "type unknown": Bad({"queue": "held", "type": "Nap"}, "Nap", ("errors", "type")),
    "options a list": Bad({"queue": "off", "options": []}, "must be an object", ("errors", "options")),
    "option unknown": options("unknown option, did you mean max_retries?", "max_retry", 1),
    "retries negative": options("must be greater than or equal to 0", "max_retries", -1),
    "retries a text": options("must be an integer", "max_retries", "3"),
    "backoff negative": options("must be greater than or equal to 0", "backoff_ms", -5),
    "backoff a truth": options("must be an integer", "backoff_ms", True),
    "timeout zero": options("must be greater than 0", "timeout_ms", 0),
    "timeout for ever": options("must be less than or equal to", "timeout_ms", 10**20),
    "priority a float": options("", "priority", 0.5),
    "run_at no time": options("RFC 3339", "run_at", "tomorrow"),
    "10,001 tasks": Bad(batch(*[FINE] * 10_001), "at most 10000", ("errors", "tasks"), BATCH),
    "one of 1,000": Bad(batch(*ONE_BAD), "", ("errors", "tasks", "637", "options", "max_retries"), BATCH),
    "a queue of 1,000": Bad(batch(*[FINE] * 999, {"queue": "on"}), "'on'", ("errors", "tasks", "999", "queue"), BATCH),
    "batch of texts": Bad(batch("off"), "must be an object", ("errors", "tasks", "0"), BATCH),
    "no batch": Bad({}, "can't be blank", ("errors", "tasks"), BATCH),
    "unknown id": Bad(b"", "There is no task", path=f"/api/tasks/{NOWHERE}", method="GET", status=404),
    "no id": Bad(b"", "There is no task", path="/api/tasks/1%20OR%201=1", method="GET", status=404),
    "retry unknown": Bad(b"", "There is no task", path=f"/api/tasks/{NOWHERE}/retry", status=404),
    "cancel unknown": Bad(b"", "There is no task", path=f"/api/tasks/{NOWHERE}/cancel", status=404),
    "page of 1,001": Bad(b"", "1000", ("errors", "limit"), "/api/tasks?limit=1001", "GET"),
    "state unknown": Bad(b"", "", ("errors", "state"), "/api/tasks?state=sleeping", "GET"),
    "cursor of ours not": Bad(b"", "", ("errors", "cursor"), "/api/tasks?cursor=%00", "GET"),
    "wrong method": Bad(b"", "", path="/api/tasks", method="PATCH", status=405),
    "no route": Bad(b"", "", path="/api/task", method="GET", status=404),
    "cancel of all": Bad({}, "", ("errors", "ids"), "/api/tasks/cancel"),
    "scale below zero": Bad({"concurrency": -1}, "or equal to 0", ("errors", "concurrency"), "/api/queues/off/scale"),
    "scale unknown": Bad({"concurrency": 1}, "unknown queue 'on'", path="/api/queues/on/scale", status=404),
    "delete a full queue": Bad(b"", "", path="/api/queues/held", method="DELETE", status=409),
    "worker not there": Bad({"worker": "no.such:Worker"}, "no.such can't be imported", ("errors", "worker"), *NEW),
    "worker no path": Bad({"worker": "nonsense"}, "module:attribute", ("errors", "worker"), *NEW),
    "queue's key unknown": Bad({"concurency": 1}, "did you mean concurrency?", ("errors", "concurency"), *NEW),
    "queue's duration": Bad({"timeout": "1 fortnight"}, "", ("errors", "timeout"), *NEW),
    "queue's name": Bad({}, "", ("errors", "name"), "/api/queues/New%20Queue", "PUT"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("bad"), CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def tasks(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Have a task in every state that a request may meet: ids by state."""
    folder = tmp_path_factory.mktemp("tasks")
    ledger, end = Ledger(folder / "ledger"), folder / "end"
    ids = {
        "completed": client.enqueue("held", ledger.context()).id,
        "executing": client.enqueue("held", ledger.context(until=str(end))).id,
        "available": client.enqueue("held", ledger.context()).id,
        "scheduled": client.enqueue("held", ledger.context(), delay="1h").id,
        "cancelled": client.enqueue("off").id,
    }
    client.cancel(ids["cancelled"])
    client.enqueue("off", {"a": 1}, idempotency_key="key")
    for state, task_id in ids.items():
        eventually(lambda state=state, task_id=task_id: client.get(task_id).state == state)  # type: ignore[misc]
    yield ids | {"keyed": "key"}
    end.touch()


@pytest.fixture(autouse=True)
def nothing_changes(server: Server, tasks: dict[str, str]) -> Iterator[None]:
    before = everything(server)
    yield
    assert everything(server) == before


def everything(server: Server) -> list[Any]:
    """Return all queues and tasks, but for what changes by itself."""
    steady = ("name", "state", "why", "counts", "settings", "pid")
    queues = [{name: queue[name] for name in steady} for queue in server.get("/api/queues")["data"]]
    return [queues, server.get("/api/tasks", limit=1000)]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong_with_it(name: str, server: Server) -> None:
    bad = BAD[name]
    body = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    headers = {"Content-Type": "application/json"} if body else {}
    answer = plain_http.request(bad.method, f"{server.url}{bad.path}", content=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (bad.status, "application/problem+json"), answer.text[
        :500
    ]
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert problem["status"] == bad.status
    assert "Traceback" not in answer.text
    found: Any = problem
    for part in bad.at:
        found = found[part]
    text = found if isinstance(found, str) else "\n".join(found)
    assert text
    assert bad.says in text


@pytest.mark.parametrize("state", ["available", "executing", "scheduled"])
def test_only_what_has_ended_can_be_retried(state: str, server: Server, tasks: dict[str, str]) -> None:
    answer = plain_http.post(f"{server.url}/api/tasks/{tasks[state]}/retry")
    assert (answer.status_code, answer.json()["state"]) == (409, state)


@pytest.mark.parametrize("state", ["completed", "cancelled"])
def test_what_has_ended_can_not_be_cancelled(state: str, server: Server, tasks: dict[str, str]) -> None:
    answer = plain_http.post(f"{server.url}/api/tasks/{tasks[state]}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (409, state)


def test_a_key_that_was_used_for_another_task_is_refused(server: Server, tasks: dict[str, str]) -> None:
    for body in ({"queue": "off"}, {"queue": "held"}):
        answer = plain_http.post(f"{server.url}/api/tasks", json=body, headers={"Idempotency-Key": tasks["keyed"]})
        assert answer.status_code == 422
