"""What holds for all routes: errors, methods, the token, health, and the OpenAPI document."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from callboard.actors.errors import RequestTimedOut, SettingsError, StoreUnavailable
from callboard.actors.messages import DescribeQueue, ListQueues, Ping, Pong, QueueDescribed, QueuesListed
from callboard.conf.settings import HttpSettings, Settings
from callboard.http.auth import check_exposure
from callboard.http.endpoints import ENDPOINTS
from tests.http.edges import PlayedActors, app_over, status_of


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/tasks", "GET, HEAD, POST"),  # two methods
        ("GET", "/api/dead/retry", "POST"),  # one method
        ("POST", "/api/queues", "GET, HEAD"),  # read only
        ("PATCH", "/api/queues/sleep", "DELETE, GET, HEAD, PUT"),  # three methods
    ],
)
def test_a_wrong_method_is_answered_with_405_and_the_right_ones(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


def test_an_unknown_path_is_answered_with_a_problem(client: TestClient) -> None:
    answer = client.get("/api/nowhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_bug_is_answered_without_a_traceback_and_logged_with_one(
    client: TestClient, actors: PlayedActors, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("division by our secret")

    actors.answers[ListQueues] = broken
    answer = client.get("/api/queues")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_the_token_is_asked_for_everywhere_but_for_healthz(actors: PlayedActors) -> None:
    settings = Settings(http=HttpSettings(token="s3cret"))
    with TestClient(app_over(actors, settings), base_url="http://localhost") as client:
        assert client.get("/healthz").status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "s3cret"},
        ):
            answer = client.get("/api/tasks", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
        for scheme in ("Bearer", "bearer"):
            assert client.get("/api/tasks", headers={"Authorization": f"{scheme} s3cret"}).status_code == 200
        assert client.get("/nowhere").status_code == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),  # another page
        ("null", 403),  # a sandboxed page or a local file
        ("http://localhost", 200),  # our own
    ],
)
def test_a_foreign_web_page_may_not_use_an_open_server(client: TestClient, origin: str, status: int) -> None:
    assert client.get("/api/tasks", headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),  # a page whose name was made to point here
        ("evil.example:4000", 403),  # with a port
        ("localhost.evil.example", 403),  # a name that only begins like ours
        ("127.0.0.1:4000", 200),  # ours
        ("[::1]:4000", 200),  # ours, IPv6
    ],
)
def test_an_open_server_is_only_known_as_this_machine(client: TestClient, host: str, status: int) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.get("/api/tasks", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "token", "fine"),
    [
        ("127.0.0.1", "", True),  # loopback
        ("::1", "", True),  # loopback, IPv6
        ("localhost", "", True),  # loopback by name
        ("0.0.0.0", "", False),  # everywhere
        ("::", "", False),  # everywhere, IPv6
        ("192.168.1.5", "", False),  # a network
        ("example.org", "", False),  # who knows
        ("0.0.0.0", "t", True),  # everywhere, with a token
    ],
)
def test_a_server_without_a_token_stays_on_its_machine(host: str, token: str, fine: bool) -> None:
    settings = Settings(http=HttpSettings(host=host, token=token))
    if fine:
        check_exposure(settings)
    else:
        with pytest.raises(SettingsError, match="token"):
            check_exposure(settings)


def test_the_server_is_healthy_and_ready(client: TestClient, actors: PlayedActors) -> None:
    actors.answers[Ping] = lambda message: Pong(message.request_id, 1)
    assert client.get("/healthz").json() == {"data": {"status": "ok"}}
    assert client.get("/readyz").json() == {"data": {"status": "ready", "store": "ok", "registry": "ok"}}


def test_the_server_is_not_ready_when_store_or_registry_do_not_answer(
    client: TestClient, actors: PlayedActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoreUnavailable("no disk")

    actors.answers[Ping] = lambda message: Pong(message.request_id, 1)
    monkeypatch.setattr(actors.store, "check", fail)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["store"], answer.json()["registry"]) == (503, "no disk", "ok")
    monkeypatch.undo()
    actors.answers[Ping] = lambda _: RequestTimedOut("silence")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["store"], answer.json()["registry"]) == (503, "ok", "silence")
    assert client.get("/healthz").status_code == 200


def test_the_openapi_document_is_valid_and_names_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    assert document["openapi"] == "3.1.0"
    served = {(endpoint.method.lower(), endpoint.path) for endpoint in ENDPOINTS}
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == served


def test_the_docs_page_needs_nothing_from_the_network(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "/api/tasks/batch" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_answers_are_as_the_document_describes_them(client: TestClient, actors: PlayedActors) -> None:
    document = client.get("/openapi.json").json()
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, ("sleep",), {"dead_letter": "down"})
    actors.answers[DescribeQueue] = lambda asked: QueueDescribed(asked.request_id, status_of(asked.queue))
    actors.answers[Ping] = lambda message: Pong(message.request_id, 1)

    def check(path: str, answer: Any) -> None:
        content = document["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]["content"]
        schema = content[answer.headers["content-type"]]["schema"] | {"components": document["components"]}
        OAS31Validator(schema).validate(json.loads(answer.content))

    check("/api/tasks", client.post("/api/tasks", json={"queue": "sleep", "options": {"priority": 9}}))
    check("/api/tasks", client.post("/api/tasks", json={"queue": 1}))
    check("/api/tasks/batch", client.post("/api/tasks/batch", json={"tasks": [{"queue": "sleep"}]}))
    check("/api/tasks", client.get("/api/tasks"))
    check("/api/queues", client.get("/api/queues"))
    check("/api/queues/{name}", client.get("/api/queues/sleep"))
    check("/api/workers", client.get("/api/workers"))
    check("/readyz", client.get("/readyz"))
