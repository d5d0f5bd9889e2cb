"""Queues with nothing to do cost no process, and nobody notices but by looking."""

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.actors import Client, LocalClient, processes
from callboard.actors.store.opening import microseconds, open_store
from callboard.conf.settings import QueueSettings
from tests.support import plain_http
from tests.support.killing import kill
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

KNOWN, BUSY = 1_000, 5
KNOWN_MEGABYTES = 25.0
"""What it may cost in all to know so many queues: about what one takes that has a process and a worker."""
CONFIG = f"""
[queues.brief]
worker = "{PATH}"
concurrency = 1
idle_after = "50ms"
[queues.lasting]
worker = "{PATH}"
concurrency = 1
idle_after = "never"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("idle"), CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def asleep(server: Server, queue: str) -> bool:
    shown = server.queue(queue)
    return (shown["state"], shown["pid"], shown["workers"]) == ("idle", None, [])


def make_known(data_dir: Path, names: list[str]) -> None:
    """Put queues into a server's store as if they had been made at run time."""
    path = data_dir / "callboard.db"
    data_dir.mkdir(mode=0o700)
    open_store(f"sqlite:///{path}").close()
    settings = QueueSettings(worker=PATH, concurrency=1).model_dump_json()
    with closing(sqlite3.connect(path)) as database, database:
        rows = [(name, settings, "", microseconds()) for name in names]
        database.executemany("INSERT INTO queues (name, settings, configured, created_at) VALUES (?, ?, ?, ?)", rows)
        database.executemany("INSERT INTO counts (queue) VALUES (?)", [(name,) for name in names])


def incarnation(server: Server, queue: str) -> int:
    """Return the number of a queue's newest owner, which may be gone already."""
    with closing(sqlite3.connect(server.data_dir / "callboard.db")) as database:
        ((number,),) = database.execute("SELECT incarnation FROM queues WHERE name = ?", (queue,))
        return int(number)


def _runs(ledger: Ledger, count: int) -> bool:
    return len(ledger.running()) == count


def cost(server: Server) -> tuple[int, float]:
    """Return the processes of a server and the megabytes that they take together (shared ones counted once)."""
    members = server.processes()
    total = sum(psutil.Process(member.pid).memory_full_info().pss for member in members)
    return len(members), total / 1e6


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_thousand_known_queues_of_which_five_are_busy_cost_five(tmp_path: Path) -> None:
    costs = []
    for known in (BUSY, KNOWN):
        folder = tmp_path / str(known)
        folder.mkdir()
        ledger = Ledger(folder / "ledger")
        end = folder / "end"
        make_known(folder / "data", [f"known-{number}" for number in range(known)])
        with Server(folder) as server, server.client() as client:
            tasks = [client.enqueue(f"known-{number}", ledger.context(until=str(end))) for number in range(BUSY)]
            eventually(partial(_runs, ledger, BUSY))
            costs.append(cost(server))
            shown = client.queues()
            states = [queue["state"] for queue in shown if queue["name"].startswith("known")]
            assert (states.count("running"), states.count("idle")) == (BUSY, known - BUSY)
            end.touch()
            assert [client.wait(task.id).state for task in tasks] == ["completed"] * BUSY
    (few, few_megabytes), (many, many_megabytes) = costs
    assert many == few
    assert many_megabytes - few_megabytes < KNOWN_MEGABYTES


def test_a_queue_with_nothing_to_do_goes_to_sleep_and_the_next_task_wakes_it(server: Server, client: Client) -> None:
    eventually(lambda: asleep(server, "brief"))
    task = client.wait(client.enqueue("brief", {"ledger": "/dev/null"}).id)
    assert task.state == "completed"
    assert server.queue("brief")["counts"]["completed"] >= 1
    eventually(lambda: asleep(server, "brief"))
    assert server.queue("lasting")["state"] == "running"


def test_what_was_done_before_a_queue_fell_asleep_is_not_taken_for_done_now(
    server: Server, client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    running = client.enqueue("brief", ledger.context(until=str(end))).id  # keeps it up until all is as it should be
    url = f"{server.url}/api/tasks/{client.enqueue('brief', {}, delay=600).id}/cancel"
    owner = server.owner("brief")
    assert plain_http.post(url, timeout=30).status_code == 200
    end.touch()
    client.wait(running)
    # Nobody looks at the queue meanwhile: so the owner that has ended is the one that the edge still knows.
    eventually(lambda: not processes.is_alive(owner))
    answer = plain_http.post(url, timeout=30)
    assert (answer.status_code, answer.json().get("state")) == (409, "cancelled")


def test_looking_at_a_queue_neither_wakes_it_nor_keeps_it_awake(server: Server, client: Client) -> None:
    client.wait(client.enqueue("brief", {"ledger": "/dev/null"}).id)
    with LocalClient(server.data_dir) as local:

        def shown() -> list[Any]:
            lists = (client.queues(), local.queues(), [server.queue("brief")])
            return [next(queue for queue in each if queue["name"] == "brief") for each in lists]

        eventually(lambda: {queue["state"] for queue in shown()} == {"idle"})
        assert shown()[0] == shown()[1] == shown()[2]
        assert shown()[0]["counts"]["completed"] >= 1
    assert asleep(server, "brief")


def test_no_task_is_lost_that_comes_while_its_queue_goes_to_sleep(server: Server, client: Client, ledger: Ledger) -> None:
    rng = random.Random(1)
    owners: set[int] = set()
    ids = []
    for _ in range(60):
        ids.append(client.enqueue("brief", ledger.context()).id)
        owners.add(incarnation(server, "brief"))
        time.sleep(rng.uniform(0.03, 0.12))  # about when it falls asleep, on either side
    assert [client.wait(task_id).state for task_id in ids] == ["completed"] * len(ids)
    assert sorted(run.task for run in ledger.runs()) == sorted(ids)
    assert len(owners) > 2


def test_a_queue_wakes_when_its_next_task_is_due(server: Server, client: Client, ledger: Ledger) -> None:
    later = client.enqueue("brief", ledger.context(), delay=2)
    failing = client.enqueue("brief", ledger.context(fail=True), backoff_ms=2_000, max_retries=1)
    eventually(lambda: client.get(failing.id).state == "retryable")
    eventually(lambda: asleep(server, "brief"))
    shown = server.queue("brief")["counts"]
    assert (shown["scheduled"], shown["retryable"]) == (1, 1)
    assert client.wait(later.id).state == "completed"
    assert client.wait(failing.id).attempt == 2


def test_a_paused_queue_sleeps_with_its_tasks_and_wakes_when_it_is_resumed(
    server: Server, client: Client, ledger: Ledger
) -> None:
    plain_http.post(f"{server.url}/api/queues/brief/pause")
    task = client.enqueue("brief", ledger.context())
    eventually(lambda: server.queue("brief")["pid"] is None)
    assert (server.queue("brief")["state"], client.get(task.id).state) == ("paused", "available")
    plain_http.post(f"{server.url}/api/queues/brief/resume")
    assert client.wait(task.id).state == "completed"


def test_new_settings_wake_a_queue_that_can_now_do_something(server: Server, client: Client, ledger: Ledger) -> None:
    settings = {"worker": PATH, "concurrency": 0, "idle_after": "50ms"}
    url = f"{server.url}/api/queues/shut"
    plain_http.put(url, content=json.dumps(settings), timeout=30)
    task = client.enqueue("shut", ledger.context())
    eventually(lambda: asleep(server, "shut"))
    plain_http.put(url, content=json.dumps(settings | {"concurrency": 1}), timeout=30)
    assert client.wait(task.id).state == "completed"


def test_a_task_that_is_moved_to_a_sleeping_queue_wakes_it(server: Server, client: Client, ledger: Ledger) -> None:
    plain_http.post(f"{server.url}/api/queues/lasting/pause")
    task = client.enqueue("lasting", ledger.context())
    eventually(lambda: asleep(server, "brief"))
    assert client.update(task.id, queue="brief").queue == "brief"
    plain_http.post(f"{server.url}/api/queues/lasting/resume")
    assert client.wait(task.id).state == "completed"
    assert server.queue("lasting")["counts"]["available"] == 0


def test_a_sleeping_queue_can_be_deleted(server: Server) -> None:
    plain_http.put(f"{server.url}/api/queues/gone", json={"worker": PATH, "idle_after": "50ms"}, timeout=30)
    eventually(lambda: asleep(server, "gone"))
    assert plain_http.delete(f"{server.url}/api/queues/gone").status_code == 204
    assert plain_http.get(f"{server.url}/api/queues/gone").status_code == 404


def test_queues_that_sleep_sleep_on_and_wake_after_the_server_was_killed(tmp_path: Path, ledger: Ledger) -> None:
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        url = f"{server.url}/api/queues/made"
        plain_http.put(url, json={"worker": PATH, "concurrency": 1, "idle_after": "50ms"}, timeout=30)
        task = client.enqueue("made", ledger.context(), delay=4)
        eventually(lambda: asleep(server, "made"))
        kill(server.part("registry"))
        eventually(lambda: asleep(server, "made"), within=30)
        assert client.wait(task.id).state == "completed"


def test_a_subscriber_hears_of_a_queue_that_sleeps_in_between_without_a_gap(
    server: Server, client: Client, ledger: Ledger
) -> None:
    with client.subscribe(["brief"], timeout=30) as events:
        ids = []
        for _ in range(3):
            eventually(lambda: asleep(server, "brief"))
            ids.append(client.wait(client.enqueue("brief", ledger.context()).id).id)
        told = [next(events) for _ in range(9)]
    assert [(event.task_id, str(event.kind)) for event in told] == [
        (task_id, kind) for task_id in ids for kind in ("enqueued", "started", "completed")
    ]


def test_a_queue_whose_task_a_consumer_has_stays_up_until_the_lease_ends(server: Server, client: Client) -> None:
    url = f"{server.url}/api/queues/leased"
    plain_http.put(url, json={"idle_after": "50ms", "max_retries": 0}, timeout=30)
    task = client.enqueue("leased", {})
    eventually(lambda: asleep(server, "leased"))
    (given,) = plain_http.post(f"{url}/dequeue", json={"max": 1, "lease_ms": 1_500}, timeout=30).json()["data"]
    assert given["id"] == task.id
    assert client.wait(task.id).errors[0]["kind"] == "expired"
    eventually(lambda: asleep(server, "leased"))
