"""The fourth seed, V7TaskProcessor, line by line: each test is named for its line of the conformance list."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from callboard.actors import Client, LocalClient, processes
from callboard.actors.options import MAX_PRIORITY
from tests.seeds.curls import run_curl, seeds_port
from tests.seeds.v7_tasks import PLAY
from tests.support import plain_http
from tests.support.killing import kill, stopped
from tests.support.ledger import Ledger
from tests.support.polling import eventually
from tests.support.server import Server

PORT = 4000
# As it stands in the seed's document.
CURL = """
curl -d '{"user_id": 123, "priority": 1, "event_data": "data", "event_type_id": 5}'  -H 'Content-Type: application/json' -X POST "localhost:4000/api/event/v1"
"""  # noqa: E501 - as it stands there
CONFIG = f'[templates.event]\nworker = "{PLAY}"\nconcurrency = 1\n'
EVENT = {"user_id": 1, "priority": 0, "event_data": None, "event_type_id": 1}
NUMBERS = count(100)
"""Each test's events are of a type that no other test uses."""


@pytest.fixture
def type_id() -> int:
    return next(NUMBERS)


def post(server: Server, event: Any) -> httpx2.Response:
    content = event if isinstance(event, bytes) else json.dumps(event).encode()
    return plain_http.post(f"{server.url}/api/event/v1", content=content, timeout=30)


def send(server: Server, type_id: int, data: Any = None, priority: int = 0) -> str:
    """Send an event that must be taken, and return its task's id."""
    event = EVENT | {"event_type_id": type_id, "event_data": data, "priority": priority}
    answer = post(server, event)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert data["queue"] == f"event-{type_id}"
    return str(data["id"])


@contextmanager
def busy(server: Server, client: Client, ledger: Ledger, type_id: int) -> Iterator[str]:
    """Keep the only worker of a type busy until the block ends."""
    end = ledger.path.with_suffix(".end")
    task_id = send(server, type_id, ledger.context(until=str(end)))
    eventually(lambda: len(ledger.running()) == 1)
    try:
        yield task_id
    finally:
        end.touch()
    client.wait(task_id)


def played(ledger: Ledger, ids: dict[str, Any]) -> list[Any]:
    """Return the names of these tasks in the order of their runs."""
    return [ids[run.task] for run in ledger.runs() if run.task in ids]


def test_v7_01_an_event_is_taken_and_reaches_its_worker_whole(server: Server, client: Client, type_id: int) -> None:
    for data in ("data", 1.5, None, [1, {"a": []}], {"b": "ünï"}, False):
        event = {"user_id": 123, "priority": 1, "event_data": data, "event_type_id": type_id, "more": 1}
        answer = post(server, event)
        assert answer.status_code == 200
        task = client.wait(answer.json()["data"]["id"])
        assert (task.state, task.queue, task.context) == ("completed", f"event-{type_id}", event)


def test_v7_01_the_curl_line_of_the_document_works(server: Server, client: Client) -> None:
    answer = run_curl(CURL, server.port)
    assert answer.status == 200
    assert client.wait(json.loads(answer.text)["data"]["id"]).context["user_id"] == 123


def test_v7_01_the_curl_line_of_the_document_works_unchanged_with_the_shipped_configuration(tmp_path: Path) -> None:
    server = Server(tmp_path, (Path(__file__).parents[2] / "conf" / "callboard.toml").read_text())
    server.port = PORT
    with seeds_port(PORT), server, server.client() as client:
        answer = run_curl(CURL)
        assert answer.status == 200
        assert client.wait(json.loads(answer.text)["data"]["id"]).result == {"user_id": 123}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The body is not JSON: Expecting value: line 1 column 1 (char 0)."),
        (b'{"user_id": 1', "The body is not JSON: Expecting ',' delimiter: line 1 column 14 (char 13)."),
        ([EVENT], f"the event must be a JSON object, received {json.dumps([EVENT])}"),
        ({}, "user_id is missing"),
        ({"event_type_id": 1, "event_data": 2}, "user_id is missing"),  # the first in their order, not in the body's
        ({"user_id": 1, "event_type_id": "x"}, "priority is missing"),
        ({"user_id": 1, "priority": 1, "event_type_id": "x"}, "event_data is missing"),
        ({"user_id": 1, "priority": 1, "event_data": None}, "event_type_id is missing"),
        (EVENT | {"user_id": "3"}, 'user_id must be an integer, received "3"'),
        (EVENT | {"user_id": None, "priority": "x"}, "user_id must be an integer, received null"),
        (EVENT | {"priority": 1.0}, "priority must be an integer, received 1.0"),
        (EVENT | {"priority": True}, "priority must be an integer, received true"),
        (EVENT | {"event_type_id": [5]}, "event_type_id must be an integer, received [5]"),
        (EVENT | {"event_type_id": 10**60}, f"event_type_id is too large, received {10**60}"),
    ],
)
def test_v7_02_what_is_malformed_is_answered_with_a_plain_text_that_says_why(server: Server, body: Any, reason: str) -> None:
    answer = post(server, body)
    assert (answer.status_code, answer.text) == (400, reason)
    assert answer.headers["content-type"].startswith("text/plain")


def test_v7_03_an_event_that_its_queue_can_not_take_is_answered_with_500(server: Server, type_id: int) -> None:
    send(server, type_id)
    plain_http.post(f"{server.url}/api/queues/event-{type_id}/drain")
    answer = post(server, EVENT | {"event_type_id": type_id})
    assert (answer.status_code, answer.text) == (500, "the queue is draining and takes no new tasks")


def test_v7_04_lower_numbers_are_more_urgent_and_equals_go_in_order(
    server: Server, client: Client, ledger: Ledger, type_id: int
) -> None:
    priorities = [5, -3, 0, 10**12, 0, 5, -(10**12), 10**40]
    with busy(server, client, ledger, type_id):
        ids = {send(server, type_id, ledger.context(), priority): place for place, priority in enumerate(priorities)}
    for task_id in ids:
        client.wait(task_id)
    expected = sorted(range(len(priorities)), key=lambda place: (priorities[place], place))
    assert played(ledger, ids) == expected
    stored = [client.get(task_id).priority for task_id in ids]
    assert stored == [max(-priority, -MAX_PRIORITY) for priority in priorities]


def test_v7_05_an_event_is_acknowledged_when_it_is_on_disk(tmp_path: Path, type_id: int) -> None:
    with Server(tmp_path, CONFIG) as server:
        ids = [send(server, type_id + number % 3) for number in range(12)]
        processes.end_tree(server.processes())
        server.start()
        with server.client() as client:
            assert [client.wait(task_id).state for task_id in ids] == ["completed"] * 12


def test_v7_06_each_type_has_its_queue_and_many_first_events_make_one(server: Server, client: Client) -> None:
    types = [next(NUMBERS), next(NUMBERS), -7]
    assert not {f"event-{each}" for each in types} & {queue["name"] for queue in client.queues()}
    with ThreadPoolExecutor(200) as threads:
        ids = list(threads.map(lambda number: send(server, types[0] if number else types[1]), range(201)))
    assert send(server, types[2])
    for task_id in ids:
        client.wait(task_id)
    counts = {queue["name"]: queue["counts"]["completed"] for queue in client.queues()}
    assert [counts[f"event-{each}"] for each in types[:2]] == [200, 1]
    settings = server.queue(f"event-{types[0]}")["settings"]
    assert (settings["worker"], settings["max_retries"], settings["backoff"]["strategy"]) == (PLAY, 5, "none")


def test_v7_06_a_queue_that_is_deleted_past_the_edge_is_made_anew(server: Server, client: Client, type_id: int) -> None:
    client.wait(send(server, type_id))
    with LocalClient(server.data_dir) as local:
        local.control.delete(f"event-{type_id}", force=True)
    task_id = send(server, type_id)
    assert client.wait(task_id).state == "completed"
    assert [task["id"] for task in server.tasks(f"event-{type_id}")] == [task_id]


def test_v7_07_a_worker_that_is_done_takes_the_next_event_or_waits_for_one(
    server: Server, client: Client, ledger: Ledger, type_id: int
) -> None:
    with busy(server, client, ledger, type_id) as first:
        second = send(server, type_id, ledger.context())
        assert [client.get(task_id).state for task_id in (first, second)] == ["executing", "available"]
    client.wait(second)
    (worker,) = server.workers(f"event-{type_id}", 1)
    third = client.wait(send(server, type_id, ledger.context()))
    assert third.state == "completed"
    assert {run.pid for run in ledger.runs()} == {worker.pid}


def test_v7_08_a_failed_event_goes_to_the_back_of_its_priority_and_after_five_retries_to_the_dead_letter(
    server: Server, client: Client, ledger: Ledger, type_id: int
) -> None:
    with busy(server, client, ledger, type_id):
        failing = send(server, type_id, ledger.context(failures=1))
        ids = {failing: "failing", send(server, type_id, ledger.context()): "other"}
        ids[send(server, type_id, ledger.context(), priority=1)] = "less urgent"
    for task_id in ids:
        client.wait(task_id)
    assert played(ledger, ids) == ["failing", "other", "failing", "less urgent"]
    hopeless = client.wait(send(server, type_id, {"failures": 99}))
    assert (hopeless.state, hopeless.attempt, len(hopeless.errors)) == ("dead", 6, 6)
    assert server.get("/api/dead")["data"][0]["id"] == hopeless.id


def test_v7_09_the_event_of_a_worker_that_crashes_is_run_again_or_dies(server: Server, client: Client, type_id: int) -> None:
    saved = client.wait(send(server, type_id, {"crashes": 2}))
    assert (saved.state, saved.attempt, [error["kind"] for error in saved.errors]) == ("completed", 3, ["crash", "crash"])
    lost = client.wait(send(server, type_id, {"crashes": 99}))
    assert (lost.state, lost.attempt) == ("dead", 6)


def test_v7_10_an_idle_worker_that_crashes_is_replaced(server: Server, client: Client, type_id: int) -> None:
    client.wait(send(server, type_id))
    (worker,) = server.workers(f"event-{type_id}", 1)
    kill(worker)
    assert client.wait(send(server, type_id)).state == "completed"
    assert server.workers(f"event-{type_id}", 1) != [worker]


def test_v7_11_the_dead_letter_lists_the_newest_first_and_puts_all_back(
    server: Server, client: Client, type_id: int
) -> None:
    queue = f"event-{type_id}"
    dead = [client.wait(send(server, type_id, {"failures": 6})).id for _ in range(3)]
    assert [task["id"] for task in server.get("/api/dead", queue=queue)["data"]] == dead[::-1]
    plain_http.post(f"{server.url}/api/queues/{queue}/pause")
    assert server.post("/api/dead/retry", {"queue": queue})["data"] == {"matched": 3, "changed": 3}
    assert [client.get(task_id).state for task_id in dead] == ["available"] * 3
    assert server.get("/api/dead", queue=queue)["data"] == []


def test_v7_12_after_a_restart_the_queues_and_their_events_are_there_again(tmp_path: Path, type_id: int) -> None:
    with Server(tmp_path, CONFIG) as server:
        ledger = Ledger(tmp_path / "ledger")
        with server.client() as client:
            done = client.wait(send(server, type_id)).id
            queue = f"event-{type_id + 1}"
            first = send(server, type_id + 1)
            client.wait(first)
            plain_http.post(f"{server.url}/api/queues/{queue}/pause")
            ids = {send(server, type_id + 1, ledger.context(), priority): priority for priority in (2, 1, 3)}
        assert server.stop() == 0
        server.start()
        with server.client() as client:
            assert client.get(done).state == "completed"
            # One with nothing to do is known and asleep.
            assert server.queue(f"event-{type_id}")["state"] == "idle"
            assert [client.get(task_id).state for task_id in ids] == ["available"] * 3
            plain_http.post(f"{server.url}/api/queues/{queue}/resume")
            for task_id in ids:
                client.wait(task_id)
        assert played(ledger, ids) == [1, 2, 3]


def test_v7_an_edited_template_wins_over_the_settings_of_queues_made_from_it(tmp_path: Path, type_id: int) -> None:
    with Server(tmp_path, CONFIG) as server:
        send(server, type_id)
        server.post(f"/api/queues/event-{type_id}/scale", {"concurrency": 7})
        for text, concurrency in ((CONFIG, 7), (CONFIG + "max_length = 9\n", 1)):
            server.stop()
            server.config.write_text(text)
            server.start()
            assert server.queue(f"event-{type_id}")["settings"]["concurrency"] == concurrency


def test_v7_a_silent_registry_does_not_keep_events_of_known_types_out(server: Server, client: Client, type_id: int) -> None:
    client.wait(send(server, type_id))
    with stopped(server.part("registry")):
        assert client.wait(send(server, type_id)).state == "completed"
