"""Consumers in processes of their own work a queue over HTTP, and processes on both sides are killed."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import plain_http
from tests.support.consumer import LEASE_MS
from tests.support.killing import kill
from tests.support.polling import eventually
from tests.support.server import ROOT, Server

QUEUE = """
[queues.pull]
backoff = { strategy = "fixed", base = "50ms" }
max_retries = 20
"""
DEQUEUE = "/api/queues/pull/dequeue"

pytestmark = pytest.mark.slow


class Note(NamedTuple):
    """A line of a consumer: what it noted, who it is, which task in which attempt, and when (monotonic nanoseconds)."""

    what: str
    who: str
    task: str
    attempt: int
    at: int


def read_notes(path: Path) -> list[Note]:
    lines = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
    fields = (line.split() for line in lines)
    return [Note(what, who, task, int(attempt), int(at)) for what, who, task, attempt, at in fields]


@contextmanager
def consumers(server: Server, folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run so many consumers; at the end they may finish what they have."""
    stop = folder / "stop"
    command = [sys.executable, "-m", "tests.support.consumer", server.url, "pull"]
    crowd = [
        subprocess.Popen([*command, f"c{number}", str(folder / "notes"), str(stop)], cwd=ROOT) for number in range(count)
    ]
    try:
        yield crowd
        stop.touch()
        assert {consumer.wait(30) for consumer in crowd if consumer.returncode is None} <= {0}
    finally:
        for consumer in crowd:
            consumer.kill()
            consumer.wait()


def submit(server: Server, count: int) -> list[str]:
    answer = server.post("/api/tasks/batch", {"tasks": [{"queue": "pull", "context": {"n": n}} for n in range(count)]})
    return [task["id"] for task in answer["data"]]


def fetch(server: Server, count: int, lease_ms: int = 60_000) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = server.post(DEQUEUE, {"max": count, "lease_ms": lease_ms})["data"]
    return tasks


def say(server: Server, task: dict[str, Any], verb: str, **body: Any) -> int:
    path = f"{server.url}/api/tasks/{task['id']}/{verb}"
    return plain_http.post(path, json={"claim": task["claim"], **body}, timeout=30).status_code


def assert_never_two_at_once(notes: list[Note]) -> None:
    """A task went to another consumer only when the lease of the first, at its earliest, had ended."""
    got: dict[str, list[Note]] = {}
    for note in notes:
        if note.what == "got":
            got.setdefault(note.task, []).append(note)
    for runs in got.values():
        for first, second in pairwise(runs):
            assert ("200", first.task, first.attempt) not in {(note.what, note.task, note.attempt) for note in notes}
            noted = next(n.at for n in notes if (n.task, n.attempt, n.what) == (second.task, second.attempt, "did"))
            assert noted - first.at >= LEASE_MS * 1_000_000


def test_four_consumers_of_which_one_is_killed_end_all_tasks(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Server(tmp_path / "server", QUEUE) as server:
        ids = submit(server, 200)
        with consumers(server, tmp_path, 4) as crowd:
            victim = crowd[0]

            def holds_some() -> bool:
                seen = Counter(note.what for note in read_notes(notes) if note.who == "c0")
                return seen["did"] > 8 and seen["got"] - seen["200"] >= 3

            eventually(holds_some)
            victim.kill()
            victim.wait()
            tasks = server.settle("pull")
        assert [task["id"] for task in tasks] == ids
        seen = read_notes(notes)
        acked = Counter(note.task for note in seen if note.what == "200")
        assert set(acked.values()) == {1}
        expired = {task["id"] for task in tasks if task["errors"]}
        lost = {note.task for note in seen if (note.what, note.who) == ("got", "c0")} - {
            note.task for note in seen if (note.what, note.who) == ("200", "c0")
        }
        # An ack of the victim's may have been stored without its having read the answer.
        unread = {task["id"] for task in tasks if task["id"] in lost and task["result"] == {"by": "c0"}}
        assert len(unread) <= 1
        assert expired >= lost - unread
        for task in tasks:
            assert {(error["kind"], error["charged"]) for error in task["errors"]} <= {("expired", True)}
            assert task["attempt"] == len(task["errors"]) + 1
        assert all("'c0'" in task["errors"][0]["message"] for task in tasks if task["id"] in lost - unread)
        assert_never_two_at_once(seen)
        queue = server.queue("pull")
        assert (queue["leased"], queue["counts"]["executing"]) == (0, 0)


def the_queue(server: Server) -> None:
    owner = server.owner("pull")
    kill(owner)
    eventually(lambda: server.queue("pull")["pid"] not in {None, owner.pid})


def the_server(server: Server) -> None:
    before = server.part("server")
    kill(before)
    eventually(lambda: server.part("server") != before)


def the_supervisor(server: Server) -> None:
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes(), within=5)
    server.start()


def the_whole_server_by_order(server: Server) -> None:
    assert server.stop() == 0
    server.start()


@pytest.mark.parametrize("ended", [the_queue, the_server, the_supervisor, the_whole_server_by_order])
def test_a_claim_is_good_whatever_became_of_the_server_meanwhile(tmp_path: Path, ended: Callable[[Server], None]) -> None:
    with Server(tmp_path, QUEUE) as server:
        submit(server, 4)
        held = fetch(server, 3)
        begun = time.monotonic()
        (brief,) = fetch(server, 1, lease_ms=1_000)
        ended(server)
        assert server.queue("pull")["leased"] >= 3
        assert say(server, held[0], "ack", result=1) == 200
        assert say(server, held[1], "heartbeat", lease_ms=60_000) == 200
        assert say(server, held[2], "fail", error="no", discard=True) == 200
        eventually(lambda: server.get(f"/api/tasks/{brief['id']}")["data"]["errors"], within=10)
        assert time.monotonic() - begun > 0.99
        assert say(server, brief, "ack") == 409
        (again,) = eventually(lambda: fetch(server, 9))
        assert (again["id"], again["attempt"], again["errors"][0]["kind"]) == (brief["id"], 2, "expired")
        assert [say(server, task, "ack") for task in (again, held[1])] == [200, 200]
        states = [(task["state"], task["attempt"]) for task in server.tasks("pull")]
        assert states == [("completed", 1), ("completed", 1), ("dead", 1), ("completed", 2)]


def test_the_queue_is_killed_again_and_again_under_its_consumers(tmp_path: Path) -> None:
    with Server(tmp_path / "server", QUEUE) as server:
        ids = submit(server, 150)
        with consumers(server, tmp_path, 3):
            for part in range(1, 4):
                eventually(lambda p=part: server.queue("pull")["counts"]["completed"] >= 30 * p)  # type: ignore[misc]
                the_queue(server)
            tasks = server.settle("pull")
        assert [task["id"] for task in tasks] == ids
        seen = read_notes(tmp_path / "notes")
        # A hand-over whose answer was lost with the Queue costs a lease, never a task.
        assert all(task["attempt"] == len(task["errors"]) + 1 for task in tasks)
        assert {error["kind"] for task in tasks for error in task["errors"]} <= {"expired"}
        assert_never_two_at_once(seen)


def test_a_cancelled_task_is_taken_from_its_consumer(tmp_path: Path) -> None:
    with Server(tmp_path, QUEUE) as server:
        submit(server, 1)
        (task,) = fetch(server, 1)
        assert server.post(f"/api/tasks/{task['id']}/cancel")["data"]["state"] == "cancelled"
        assert [say(server, task, "heartbeat", lease_ms=1_000), say(server, task, "ack")] == [409, 409]
        assert server.queue("pull")["leased"] == 0


def test_workers_and_consumers_work_one_queue_together(tmp_path: Path) -> None:
    both = '[queues.pull]\nworker = "callboard.actors.samples:Sleep"\nconcurrency = 2\n'
    with Server(tmp_path / "server", both) as server:
        ids = [
            task["id"]
            for task in server.post(
                "/api/tasks/batch", {"tasks": [{"queue": "pull", "context": {"timeout": 50}} for _ in range(60)]}
            )["data"]
        ]
        with consumers(server, tmp_path, 1):
            tasks = server.settle("pull")
        assert [task["id"] for task in tasks] == ids
        assert all((task["attempt"], task["errors"]) == (1, []) for task in tasks)
        by_consumer = {task["id"] for task in tasks if task["result"] == {"by": "c0"}}
        assert 0 < len(by_consumer) < len(ids)
        assert by_consumer == {note.task for note in read_notes(tmp_path / "notes")}
