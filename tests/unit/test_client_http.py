"""Both HTTP clients over real sockets, to a server that answers what it is told to."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from callboard.actors import AsyncClient, Client
from callboard.actors.errors import RequestTimedOut, ServerNotRunning, TaskNotFound
from tests.support.ports import free_port

MOMENT = "2026-01-31T09:15:00.250Z"
TASK = {
    "id": "1", "queue": "q", "type": "T", "state": "completed", "priority": "high", "context": {}, "attempt": 1,
    "max_retries": 3, "backoff_ms": 1_000, "timeout_ms": 60_000, "run_at": MOMENT, "created_at": MOMENT,
    "started_at": MOMENT, "finished_at": MOMENT, "errors": [], "result": {"a": 1}, "meta": {},
}  # fmt: skip


class Played(ThreadingHTTPServer):
    """Answers from a list (the last one for ever); None hangs up without an answer."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, Any] | None] = [(200, {"data": TASK})]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Played
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((f"{self.command} {self.path}", dict(self.headers), body))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer is None:
            self.close_connection = True
            return
        content = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def play(server: Played) -> None:
    threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Played]:
    with Played() as played:
        play(played)
        yield played
        played.shutdown()


def call_blocking(url: str, name: str, *arguments: Any, timeout: float = 30, **named: Any) -> Any:
    with Client(url, token="secret", timeout=timeout) as client:
        return getattr(client, name)(*arguments, **named)


def call_async(url: str, name: str, *arguments: Any, timeout: float = 30, **named: Any) -> Any:
    async def call() -> Any:
        async with AsyncClient(url, token="secret", timeout=timeout) as client:
            return await getattr(client, name)(*arguments, **named)

    return asyncio.run(call())


Call = Callable[..., Any]
both = pytest.mark.parametrize("call", [call_blocking, call_async], ids=["blocking", "asyncio"])

CALLS = [
    # method, arguments, what is requested, the body (None: none), what is answered
    ("enqueue", ("q", {"a": 1}), "POST /api/tasks", {"queue": "q", "context": {"a": 1}}, TASK),
    ("enqueue_many", ([{"queue": "q"}],), "POST /api/tasks/batch", {"tasks": [{"queue": "q"}]}, [TASK]),
    ("get", ("1",), "GET /api/tasks/1", None, TASK),
    ("wait", ("1", 5), "GET /api/tasks/1?wait=", None, TASK),
    ("retry", ("1",), "POST /api/tasks/1/retry", {}, TASK),
    ("cancel", ("1",), "POST /api/tasks/1/cancel", {}, TASK),
    ("queues", (), "GET /api/queues", None, [{"name": "q"}]),
]


@both
@pytest.mark.parametrize(("name", "arguments", "request_line", "body", "data"), CALLS, ids=[row[0] for row in CALLS])
def test_each_call_is_one_request(
    *, call: Call, server: Played, name: str, arguments: tuple[Any, ...], request_line: str, body: Any, data: Any
) -> None:
    server.answers = [(200, {"data": data})]
    returned = call(server.url, name, *arguments)
    [(requested, headers, sent)] = server.requests
    assert requested.startswith(request_line)
    assert headers["Authorization"] == "Bearer secret"
    assert (json.loads(sent) if sent else None) == body
    assert ("Idempotency-Key" in headers) == name.startswith("enqueue")
    if name == "queues":
        assert returned == data
    else:
        task = returned[0] if isinstance(returned, list) else returned
        assert (task.id, task.state, task.priority, task.result) == ("1", "completed", 1, {"a": 1})


@both
def test_options_are_sent_and_a_misspelt_one_is_not(call: Call, server: Played) -> None:
    call(server.url, "enqueue", "q", priority="high", delay="5s", idempotency_key="mine")
    [(_, headers, sent)] = server.requests
    assert headers["Idempotency-Key"] == "mine"
    assert json.loads(sent)["options"] == {"priority": "high", "delay_ms": 5_000}


@both
def test_a_server_that_hangs_up_is_asked_again_under_the_same_key(call: Call, server: Played) -> None:
    server.answers = [None, (503, {}), (201, {"data": TASK})]
    assert call(server.url, "enqueue", "q").id == "1"
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.requests}) == 1
    assert len(server.requests) == 3


@both
def test_a_server_that_comes_up_late_is_reached(call: Call) -> None:
    port = free_port()
    late: list[Played] = []

    def come_up() -> None:
        late.append(Played(port))
        play(late[0])

    timer = threading.Timer(0.3, come_up)
    timer.start()
    try:
        assert call(f"http://127.0.0.1:{port}", "enqueue", "q").id == "1"
    finally:
        timer.join()
        late[0].shutdown()
        late[0].server_close()


@both
def test_where_nobody_listens_the_error_says_so(call: Call) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServerNotRunning, match=url):
            call(url, "get", "1", timeout=0.2)


@both
def test_a_server_that_never_answers_is_given_up(call: Call) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RequestTimedOut, match="may have been done"):
            call(url, "enqueue", "q", timeout=0.3)


@both
def test_a_task_that_does_not_exist_is_told(call: Call, server: Played) -> None:
    server.answers = [(404, {"detail": "no such task"})]
    with pytest.raises(TaskNotFound):
        call(server.url, "get", "1")


@both
def test_the_environments_proxy_is_not_asked_for_this_machine(
    call: Call, server: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert call(server.url, "get", "1").id == "1"


@pytest.mark.parametrize(
    ("url", "verified"),
    [("http://127.0.0.1:4000", False), ("https://localhost:4000", True), ("https://far:4000", True), ("http://far", True)],
)
def test_certificates_are_verified_wherever_there_can_be_one(
    url: str, verified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[bool] = []
    monkeypatch.setattr(httpx2, "Client", lambda **options: connections.append(options["verify"]))
    Client(url)
    assert connections == [verified]


def test_one_client_serves_many_threads(server: Played) -> None:
    found: list[str] = []
    with Client(server.url) as client:
        threads = [threading.Thread(target=lambda: found.append(client.get("1").id)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == ["1"] * 8


def test_a_waiting_client_leaves_the_event_loop_free(server: Played) -> None:
    server.answers = [(503, {}), (503, {}), (503, {}), (200, {"data": TASK})]

    async def both_at_once() -> int:
        turns = 0
        async with AsyncClient(server.url) as client:
            asking = asyncio.create_task(client.get("1"))
            while not asking.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert asking.result().id == "1"
        return turns

    assert asyncio.run(both_at_once()) > 5
