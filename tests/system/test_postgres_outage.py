"""PostgreSQL is killed under load and started again: the queue says so, takes nothing meanwhile, and goes on by itself."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from callboard.actors import processes
from tests.support import plain_http
from tests.support.judging import assert_each_once, assert_exact
from tests.support.killing import stopped
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import Server
from tests.support.submitting import Submitting

CONFIG = f"""
[queues.one]
worker = "{PATH}"
concurrency = 3
max_retries = 0
[queues.two]
worker = "{PATH}"
concurrency = 2
max_retries = 0
[templates.event]
worker = "callboard.actors.samples:Event"
"""
NEW_TYPES = 5
"""More new queues than the Registry could wait for, one after another, without being taken for dead."""
ALL_TASKS = 300
KILLS = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, that writes to disk as people's do."""
    with PostgresServer() as server:
        yield server


@contextmanager
def serving(postgres: PostgresServer, folder: Path) -> Iterator[Server]:
    with Server(folder, CONFIG, arguments=("--store", postgres.new_database())) as server:
        yield server


def state(server: Server, queue: str = "one") -> str:
    return str(server.queue(queue)["state"])


@pytest.mark.timeout(180)
def test_nothing_is_lost_when_postgresql_is_killed_under_load(postgres: PostgresServer, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    task = {"context": ledger.context(ms=20, name="")}
    with serving(postgres, tmp_path) as server, server.client(60) as client:
        owners = {queue: server.owner(queue) for queue in ("one", "two")}
        with Submitting(server.url, ("one", "two"), ledger.context(ms=20)) as submitting:
            client.enqueue_many([{"queue": ("one", "two")[i % 2], **task} for i in range(ALL_TASKS)])
            for number in range(1, KILLS + 1):
                eventually(lambda count=number: ledger.ended() >= ALL_TASKS * count // (KILLS + 1), within=40)  # type: ignore[misc]
                postgres.kill()
                eventually(lambda: state(server) == state(server, "two") == "degraded")
                postgres.start()
                eventually(lambda: state(server) == state(server, "two") == "running", within=40)
        tasks = server.settle("one") + server.settle("two")
        # An owner ends itself if a transaction turns out to have been kept after all; else it lives through all this.
        replaced = [queue for queue, owner in owners.items() if not processes.is_alive(owner)]
    assert_each_once(tasks, [*[""] * ALL_TASKS, *submitting.accepted])
    assert {task["id"] for task in tasks} >= set(submitting.accepted.values())
    assert_exact(tasks, ledger, [])
    again = Counter(run.task for run in ledger.runs())
    by_queue = Counter(task["queue"] for task in tasks if again[task["id"]] > 1)
    assert set(by_queue) <= set(replaced), f"{by_queue} ran again though their owners lived"


def test_while_postgresql_is_down_nothing_is_accepted_and_what_runs_goes_on(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    with serving(postgres, tmp_path) as server, server.client() as client:
        ids = [client.enqueue("one", ledger.context(until=str(end))).id for _ in range(3)]
        eventually(lambda: len(ledger.running()) == 3)
        postgres.kill()
        for path, body in (("/api/tasks", {"queue": "one"}), ("/api/tasks/batch", {"tasks": [{"queue": "one"}] * 5})):
            answer = plain_http.post(f"{server.url}{path}", json=body, timeout=30)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert answer.headers["retry-after"]
            assert answer.json()["type"] == "urn:callboard:problem:store-unavailable"
        assert plain_http.get(f"{server.url}/api/tasks/{ids[0]}", timeout=30).status_code == 503
        assert plain_http.get(f"{server.url}/readyz", timeout=30).status_code == 503
        assert plain_http.get(f"{server.url}/healthz", timeout=30).status_code == 200
        shown = server.queue("one")
        assert shown["state"] == "degraded"
        assert "Connection refused" in shown["why"]
        # They end while nobody can store it; it is stored when the database is back.
        end.touch()
        eventually(lambda: ledger.ended() == 3)
        postgres.start()
        tasks = [client.wait(task_id) for task_id in ids]
        eventually(lambda: state(server) == "running")
        counts = server.queue("one")["counts"]
    assert [(task.state, task.attempt, task.errors) for task in tasks] == [("completed", 1, [])] * 3
    assert len(ledger.runs()) == 3
    assert sum(counts.values()) == counts["completed"] == 3


def test_a_server_that_is_killed_while_postgresql_is_down_comes_up_when_that_is_back(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    with serving(postgres, tmp_path) as server, server.client(60) as client:
        ids = [client.enqueue("one", ledger.context(until=str(end))).id for _ in range(5)]
        eventually(lambda: len(ledger.running()) == 3)
        before = server.part("server")
        postgres.kill()
        assert processes.kill(before)
        eventually(lambda: "Connection refused" in server.log().partition("starting over")[2], within=30)
        postgres.start()
        end.touch()
        eventually(lambda: server.part("server") != before, within=30)
        tasks = [task for task in server.settle("one") if task["id"] in ids]
    assert len(tasks) == 5
    assert [[error["kind"] for error in task["errors"]] for task in tasks] == [["interrupted"]] * 3 + [[]] * 2


@pytest.mark.timeout(120)
def test_a_postgresql_that_does_not_answer_hangs_nobody(postgres: PostgresServer, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with serving(postgres, tmp_path) as server, server.client(60) as client:
        client.wait(client.enqueue("one", ledger.context()).id)
        owner, registry = server.owner("one"), server.part("registry")
        with stopped_all([*postgres.members()]), ThreadPoolExecutor(NEW_TYPES) as threads:
            events = [threads.submit(send_event, server, number) for number in range(NEW_TYPES)]
            answer = plain_http.post(
                f"{server.url}/api/tasks", json={"queue": "one", "context": ledger.context()}, timeout=60
            )
            assert answer.status_code == 503
            # The seed's API knows no 503.
            assert [event.result() for event in events] == [500] * NEW_TYPES
        task = client.wait(client.enqueue("one", ledger.context()).id)
        eventually(lambda: all(send_event(server, number) == 200 for number in range(NEW_TYPES)), within=30)
        assert (server.owner("one"), server.part("registry")) == (owner, registry)
    assert task.state == "completed"


def send_event(server: Server, type_id: int) -> int:
    event = {"user_id": 1, "priority": 0, "event_data": {}, "event_type_id": type_id}
    return plain_http.post(f"{server.url}/api/event/v1", json=event, timeout=60).status_code


@contextmanager
def stopped_all(members: list[processes.Ident]) -> Iterator[None]:
    if not members:
        yield
        return
    with stopped(members[0]), stopped_all(members[1:]):
        yield
