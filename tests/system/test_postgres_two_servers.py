"""Two servers on one PostgreSQL database: one owns a queue, the other stands by and takes over when the first is gone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from callboard.actors import processes
from callboard.actors.errors import CallboardError
from callboard.actors.local_client import LocalClient
from tests.support import plain_http
from tests.support.killing import kill, stopped
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import Server

CONFIG = f"""
[queues.one]
worker = "{PATH}"
concurrency = 2
max_retries = 0
"""

pytestmark = pytest.mark.slow


@contextmanager
def two_servers(url: str, folder: Path) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as both:
        first, second = (
            both.enter_context(Server(folder / name, CONFIG, arguments=("--store", url))) for name in ("first", "second")
        )
        yield first, second


def state(server: Server, queue: str = "one") -> str:
    return str(server.queue(queue)["state"])


def submit(server: Server, context: dict[str, Any]) -> httpx2.Response:
    return plain_http.post(f"{server.url}/api/tasks", json={"queue": "one", "context": context}, timeout=30)


def test_who_stands_by_takes_nothing_and_says_who_owns_the_queue(postgres_server: PostgresServer, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with two_servers(postgres_server.new_database(), tmp_path) as (first, second), first.client() as client:
        assert (state(first), state(second)) == ("running", "standby")
        listed = {queue["name"]: queue for queue in second.get("/api/queues")["data"]}
        assert {name: queue["state"] for name, queue in listed.items()} == {"one": "standby", "dead_letter": "standby"}
        assert f"(process {first.owner('one').pid})" in listed["one"]["why"]

        answer = submit(second, ledger.context())
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:callboard:problem:standby")
        assert answer.headers["retry-after"]
        assert "another server owns queue 'one'" in answer.json()["detail"]
        for method, path in (("PUT", ""), ("DELETE", "?force=true"), ("POST", "/pause")):
            answer = plain_http.request(method, f"{second.url}/api/queues/one{path}", json={"worker": PATH}, timeout=30)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:callboard:problem:standby"), path
        with LocalClient(second.data_dir) as local, pytest.raises(CallboardError, match="another server owns queue 'one'"):
            local.enqueue("one", ledger.context())

        # What is in the store can be read from either.
        task = client.wait(client.enqueue("one", ledger.context()).id)
        assert second.get(f"/api/tasks/{task.id}")["data"]["state"] == "completed"
        assert second.queue("one")["counts"]["completed"] == 1
        waited = second.get(f"/api/tasks/{client.enqueue('one', ledger.context(ms=300)).id}", wait=20)
        assert waited["data"]["state"] == "completed"


@pytest.mark.timeout(120)
def test_the_second_server_takes_over_when_the_first_is_killed(postgres_server: PostgresServer, tmp_path: Path) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    with two_servers(postgres_server.new_database(), tmp_path) as (first, second), first.client() as client:
        done = client.wait(client.enqueue("one", ledger.context()).id)
        # A queue that the second one has not heard of: made while both were running.
        plain_http.put(f"{first.url}/api/queues/made", json={"worker": PATH}, timeout=30).raise_for_status()
        running = [client.enqueue("one", ledger.context(until=str(end))).id for _ in range(2)]
        eventually(lambda: len(ledger.running()) == 2)
        waiting = [client.enqueue("one", ledger.context(number=number)).id for number in range(20)]
        elsewhere = client.enqueue("made", ledger.context()).id
        kill(first.part("supervisor"))
        eventually(lambda: not first.processes())
        end.touch()
        eventually(lambda: state(second) == "running", within=20)
        tasks = {task["id"]: task for task in second.settle("one")}
        eventually(lambda: second.get(f"/api/tasks/{elsewhere}")["data"]["state"] == "completed")
        # The first comes back, and is the one that stands by.
        first.start()
        assert (state(first), state(second)) == ("standby", "running")
        assert submit(second, ledger.context()).status_code == 201
        second.settle("one")
    runs = Counter(run.task for run in ledger.runs())
    assert set(tasks) == {done.id, *running, *waiting}
    assert {task_id: runs[task_id] for task_id in running} == dict.fromkeys(running, 2)
    assert {task_id: runs[task_id] for task_id in (done.id, *waiting, elsewhere)} == dict.fromkeys(
        (done.id, *waiting, elsewhere), 1
    )
    assert [[error["kind"] for error in tasks[task_id]["errors"]] for task_id in running] == [["interrupted"]] * 2


def test_a_queue_that_only_crashes_stays_with_its_server(postgres_server: PostgresServer, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with two_servers(postgres_server.new_database(), tmp_path) as (first, second), first.client() as client:
        for _ in range(3):
            owner = first.owner("one")
            kill(owner)
            assert first.owner("one") != owner
            assert client.wait(client.enqueue("one", ledger.context()).id).state == "completed"
        assert (state(first), state(second)) == ("running", "standby")


@pytest.mark.timeout(120)
def test_an_owner_whose_session_was_ended_by_force_writes_nothing_once_it_is_replaced(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    ledger, end = Ledger(tmp_path / "ledger"), tmp_path / "end"
    url = postgres_server.new_database()
    with two_servers(url, tmp_path) as (first, second), first.client() as client:
        ids = [client.enqueue("one", ledger.context(until=str(end))).id for _ in range(2)]
        eventually(lambda: len(ledger.running()) == 2)
        owner = first.owner("one")
        with ExitStack() as frozen:
            # Frozen whole, like a machine that is put to sleep: its session ends, and nothing of it knows.
            for member in first.processes():
                frozen.enter_context(stopped(member))
            theirs = f"application_name LIKE 'callboard%{owner.pid}%'"
            postgres_server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")
            eventually(lambda: state(second) == "running", within=20)
            end.touch()
            tasks = second.settle("one")
        # It wakes, finds that it is not the owner any more, and stands by.
        eventually(lambda: not processes.is_alive(owner), within=30)
        eventually(lambda: state(first) == "standby", within=30)
        assert state(second) == "running"
        after = second.tasks("one")
    assert {task["id"] for task in tasks} == set(ids)
    assert [(task["state"], task["attempt"]) for task in after] == [("completed", 2)] * 2


@pytest.mark.timeout(120)
def test_a_queue_that_sleeps_stays_with_its_server_until_that_is_gone(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    ledger, brief = Ledger(tmp_path / "ledger"), CONFIG + 'idle_after = "50ms"\n'
    url = postgres_server.new_database()
    with (
        Server(tmp_path / "first", brief, arguments=("--store", url)) as first,
        Server(tmp_path / "second", brief, arguments=("--store", url)) as second,
        first.client() as client,
    ):
        eventually(lambda: (state(first), state(second)) == ("idle", "idle"))
        answer = submit(second, ledger.context())
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:callboard:problem:standby")
        answer = plain_http.put(f"{second.url}/api/queues/made", json={"worker": PATH}, timeout=30)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:callboard:problem:standby")
        for delay in (0, 0, 2):
            assert client.wait(client.enqueue("one", ledger.context(), delay=delay).id).state == "completed"
            eventually(lambda: state(first) == "idle")
            assert state(second) in {"idle", "standby"}
        running = client.enqueue("one", ledger.context(until=str(tmp_path / "end"))).id
        eventually(lambda: len(ledger.running()) == 1)
        later = client.enqueue("one", ledger.context(), delay=6).id
        kill(first.part("supervisor"))
        eventually(lambda: not first.processes())
        # Now it is the second that wakes what has something to do, also what it had thought asleep.
        eventually(lambda: state(second) == "running", within=20)
        (tmp_path / "end").touch()
        eventually(lambda: second.get(f"/api/tasks/{running}")["data"]["state"] == "completed", within=20)
        eventually(lambda: second.get(f"/api/tasks/{later}")["data"]["state"] == "completed", within=20)
        eventually(lambda: state(second) == "idle", within=20)
        assert submit(second, ledger.context()).status_code == 201


@pytest.mark.timeout(120)
def test_what_dies_where_only_another_server_has_the_dead_letter_is_logged_and_lets_its_queue_sleep(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    ledger, url = Ledger(tmp_path / "ledger"), postgres_server.new_database()
    two = {"worker": PATH, "max_retries": 0, "idle_after": "never"}
    more = "\n[queues.two]\n" + "\n".join(f"{name} = {value!r}" for name, value in two.items())
    with (
        Server(tmp_path / "first", CONFIG, arguments=("--store", url)) as first,
        Server(tmp_path / "second", CONFIG + more, arguments=("--store", url)) as second,
        second.client() as client,
    ):
        assert (state(first, "dead_letter"), state(second, "dead_letter")) == ("running", "standby")
        dead = client.enqueue("two", ledger.context(fail=True)).id
        assert client.wait(dead).state == "dead"
        eventually(lambda: f"task {dead} of queue two is dead" in second.log())
        plain_http.put(f"{second.url}/api/queues/two", json={**two, "idle_after": "50ms"}, timeout=30).raise_for_status()
        eventually(lambda: state(second, "two") == "idle", within=20)
