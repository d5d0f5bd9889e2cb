"""Many tasks in one worker process: at the same time, each with its own end, and nobody hurt by a neighbour's."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from callboard.actors import Client, processes
from callboard.actors.task import Task
from tests.support import plain_http
from tests.support.killing import kill
from tests.support.ledger import Ledger, Run
from tests.support.polling import eventually
from tests.support.server import Server
from tests.system.slots_tasks import RUN, WAIT

MEGABYTE = 1_000_000
CONFIG = f"""
[shutdown]
grace = "500ms"
[queues.io]
worker = "{WAIT}"
concurrency = 200
slots = 200
timeout = "10m"
max_retries = 0
[queues.io.types]
thread = "{RUN}"
[queues.few]
worker = "{RUN}"
concurrency = 4
slots = 4
timeout = "10m"
max_retries = 0
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("slots"), CONFIG) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client(timeout=120) as client:
        yield client


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def task(queue: str, context: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"queue": queue, "context": context, **options}


def begin(client: Client, ledger: Ledger, tasks: list[dict[str, Any]]) -> list[str]:
    """Submit tasks that wait for a file, and return their ids when all of them run."""
    ids = [submitted.id for submitted in client.enqueue_many(tasks)]
    eventually(lambda: {run.task for run in ledger.running()} >= set(ids), within=30)
    return ids


def most_at_once(runs: list[Run]) -> int:
    return max(sum(run.begun <= other.begun < (run.ended or 0) for run in runs) for other in runs)


def untouched(tasks: list[Task]) -> bool:
    return all((task.state, task.attempt, task.errors) == ("completed", 1, []) for task in tasks)


# ---------------------------------------------------------------- at once


def test_200_one_second_tasks_run_at_the_same_time_in_one_process(client: Client, ledger: Ledger) -> None:
    tasks = client.enqueue_many([task("io", ledger.context(ms=1_000))] * 200)
    ended = [client.wait(submitted.id) for submitted in tasks]
    assert untouched(ended)
    runs = ledger.runs()
    assert len({run.pid for run in runs}) == 1
    assert most_at_once(runs) == 200


@pytest.mark.parametrize("type_", [None, "thread"])
def test_1000_run_in_five_rounds_in_less_than_60_mb(
    server: Server, client: Client, ledger: Ledger, type_: str | None
) -> None:
    """Each task waits for the end of its round, so what runs together is known without a clock."""
    ends = [ledger.path.with_suffix(f".{number}") for number in range(5)]
    more = {"type": type_} if type_ else {}
    tasks = [task("io", ledger.context(until=str(end)), **more) for end in ends for _ in range(200)]
    ids = [submitted.id for submitted in client.enqueue_many(tasks)]
    pids = set()
    for number, end in enumerate(ends):
        _wait_for_exactly(ledger, set(ids[number * 200 : (number + 1) * 200]))
        (worker,) = server.queue("io")["workers"]
        pids.add(worker["pid"])
        assert (worker["running"], server.queue("io")["running"]) == (200, 200)
        assert psutil.Process(worker["pid"]).memory_full_info().pss < 60 * MEGABYTE
        end.touch()
    assert untouched([client.wait(task_id) for task_id in ids])
    assert {run.pid for run in ledger.runs()} == pids
    assert len(pids) == 1


def _wait_for_exactly(ledger: Ledger, ids: set[str]) -> None:
    eventually(lambda: {run.task for run in ledger.running()} == ids, within=30)


def test_there_are_as_many_processes_as_the_slots_ask_for_and_no_more_tasks_than_may(
    server: Server, client: Client, ledger: Ledger
) -> None:
    settings = {"worker": WAIT, "concurrency": 5, "slots": 3, "timeout": "10m"}
    server_put(server, "odd", settings)
    server.workers("odd", 2)
    end = ledger.path.with_suffix(".end")
    ids = [submitted.id for submitted in client.enqueue_many([task("odd", ledger.context(until=str(end)))] * 9)]
    eventually(lambda: len(ledger.running()) == 5)
    assert {worker["running"] for worker in server.queue("odd")["workers"]} == {2, 3}
    server.post("/api/queues/odd/scale", {"concurrency": 7})
    eventually(lambda: len(ledger.running()) == 7)
    assert len(server.queue("odd")["workers"]) == 3
    end.touch()
    assert untouched([client.wait(task_id) for task_id in ids])


def server_put(server: Server, name: str, settings: dict[str, Any]) -> None:

    answer = plain_http.put(f"{server.url}/api/queues/{name}", json=settings, timeout=20)
    assert answer.status_code == 201, answer.text


# ---------------------------------------------------------------- each its own end


def test_timeout_and_cancellation_of_an_async_task_leave_its_neighbours_alone(client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    forever = ledger.context(until="/nowhere")
    tasks = [task("io", ledger.context(until=str(end)))] * 10 + [task("io", forever), task("io", forever, timeout="300ms")]
    *neighbours, unwanted, slow = begin(client, ledger, tasks)
    late = client.wait(slow)
    assert (late.state, [(e["kind"], e["charged"]) for e in late.errors]) == ("dead", [("timeout", True)])
    assert client.cancel(unwanted).state == "cancelled"
    assert {run.task for run in ledger.running()} >= set(neighbours)
    end.touch()
    assert untouched([client.wait(task_id) for task_id in neighbours])
    assert len({run.pid for run in ledger.runs()}) == 1


@pytest.mark.parametrize("way", ["timeout", "cancelled"])
def test_a_thread_that_does_not_stop_is_ended_with_its_process_after_its_neighbours(
    server: Server, client: Client, ledger: Ledger, way: str
) -> None:
    end, other = ledger.path.with_suffix(".end"), ledger.path.with_suffix(".other")
    stuck_task = task("few", ledger.context(until="/nowhere"), timeout="300ms" if way == "timeout" else "10m")
    stuck, *neighbours = begin(client, ledger, [stuck_task, *[task("few", ledger.context(until=str(end)))] * 2])
    (old,) = {run.pid for run in ledger.running()}
    cancelling = None
    if way == "cancelled":
        cancelling = Thread(target=lambda: server.post(f"/api/tasks/{stuck}/cancel"))
        cancelling.start()
    eventually(lambda: len(server.queue("few")["workers"]) == 2, within=20)
    # Its place is taken by another process, while those beside it go on.
    (new,) = begin(client, ledger, [task("few", ledger.context(until=str(other)))])
    assert {run.task: run.pid == old for run in ledger.running()} == {
        **dict.fromkeys([stuck, *neighbours], True),
        new: False,
    }
    assert client.get(stuck).state == "executing"
    end.touch()
    assert untouched([client.wait(task_id) for task_id in neighbours])
    ended = client.wait(stuck)
    expected = ("dead", [("timeout", True)]) if way == "timeout" else ("cancelled", [])
    assert (str(ended.state), [(e["kind"], e["charged"]) for e in ended.errors]) == expected
    eventually(lambda: not psutil.pid_exists(old))
    assert {run.task for run in ledger.running()} == {new, stuck}  # whose end nobody has noted
    other.touch()
    assert untouched([client.wait(new)])
    if cancelling is not None:
        cancelling.join()


# ---------------------------------------------------------------- suspects


def acquitted(tasks: list[Task]) -> bool:
    return all(
        (task.state, task.attempt, [(e["kind"], e["charged"], e["suspect"]) for e in task.errors])
        == ("completed", 2, [("crash", False, False)])
        for task in tasks
    )


def ran_alone(runs: list[Run]) -> bool:
    """Tell whether no two of these runs were in one process at the same time."""
    by_process: dict[int, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.begun):
        by_process.setdefault(run.pid, []).append(run)
    return all((one.ended or one.begun) <= next_.begun for each in by_process.values() for one, next_ in pairwise(each))


def test_of_20_that_ran_where_one_crashed_only_that_one_is_charged(client: Client, ledger: Ledger) -> None:
    end, go = ledger.path.with_suffix(".end"), ledger.path.with_suffix(".go")
    innocent = task("io", ledger.context(until=str(end)))
    guilty = task("io", ledger.context(until=str(go), crash=True), max_retries=2, backoff_ms=0)
    ids = begin(client, ledger, [*[innocent] * 10, guilty, *[innocent] * 9])
    guilty_id = ids.pop(10)
    first = ledger.running()[0].pid
    go.touch()
    eventually(lambda: any(run.pid != first for run in ledger.runs()))
    end.touch()
    assert acquitted([client.wait(task_id) for task_id in ids])
    dead = client.wait(guilty_id)
    assert (dead.state, dead.attempt) == ("dead", 3)
    assert [(e["kind"], e["exit"], e["charged"]) for e in dead.errors] == [("crash", "SIGSEGV", True)] * 3
    assert not any(e.get("suspect") for e in dead.errors)
    assert ran_alone([run for run in ledger.runs() if run.pid != first])


def test_suspects_are_remembered_by_the_next_owner(server: Server, client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    ids = begin(client, ledger, [task("io", ledger.context(until=str(end)))] * 20)
    first = ledger.running()[0].pid
    victim = processes.identify(first)
    assert victim is not None
    kill(victim)
    eventually(lambda: any(run.pid != first for run in ledger.runs()), within=20)
    kill(server.owner("io"))
    end.touch()
    ended = [client.wait(task_id) for task_id in ids]
    assert {task.state for task in ended} == {"completed"}
    assert not any(error["charged"] for task in ended for error in task.errors)
    assert all([e["kind"] for e in task.errors if e["kind"] != "interrupted"] == ["crash"] for task in ended)
    assert ran_alone([run for run in ledger.runs() if run.pid != first])


# ---------------------------------------------------------------- the end


def test_what_runs_longer_than_the_grace_is_interrupted_and_runs_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    end = tmp_path / "end"
    with Server(tmp_path / "server", CONFIG) as server:
        with server.client() as client:
            brief = begin(client, ledger, [task("io", ledger.context(until=str(tmp_path / "brief")))] * 5)
            long = begin(client, ledger, [task("io", ledger.context(until=str(end)))] * 5)
        (tmp_path / "brief").touch()
        assert server.stop() == 0
        end.touch()
        server.start()
        with server.client() as client:
            assert untouched([client.wait(task_id) for task_id in brief])
            ended = [client.wait(task_id) for task_id in long]
    assert [(t.state, t.attempt, [(e["kind"], e["charged"]) for e in t.errors]) for t in ended] == [
        ("completed", 2, [("interrupted", False)])
    ] * 5
