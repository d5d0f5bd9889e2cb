"""A server that is told to stop ends what it can, gives back the rest, and forgets nothing."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import Client
from tests.support import plain_http
from tests.support.killing import kill
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = f"""
[shutdown]
grace = "GRACE"
[queues.one]
worker = "{PATH}"
concurrency = 3
"""


def stop(server: Server) -> None:
    assert server.stop() == 0


def kill_it(server: Server) -> None:
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tasks_have_the_grace_to_end_and_longer_ones_run_again_uncharged(number: int, tmp_path: Path) -> None:
    ledger, soon, late = Ledger(tmp_path / "ledger"), tmp_path / "soon", tmp_path / "late"
    with Server(tmp_path, CONFIG.replace("GRACE", "1s")) as server, server.client() as client:
        quick = client.enqueue("one", ledger.context(until=str(soon))).id
        long = [client.enqueue("one", ledger.context(until=str(late))).id for _ in range(2)]
        eventually(lambda: len(ledger.running()) == 3)
        waiting = [task.id for task in client.enqueue_many([{"queue": "one", "context": ledger.context()}] * 20)]
        assert server.process is not None
        server.process.send_signal(number)
        eventually(lambda: not server.accepts())
        soon.touch()
        assert server.process.wait(20) == 0
        assert server.processes() == set()
        assert quick in {run.task for run in ledger.runs() if run.ended is not None}
        assert {run.task for run in ledger.running()} == set(long)
        late.touch()
        server.start()
        tasks = {task["id"]: task for task in server.settle("one")}
    assert tasks.keys() == {quick, *long, *waiting}
    for task_id, task in tasks.items():
        expected = [("interrupted", False)] if task_id in long else []
        assert [(error["kind"], error["charged"]) for error in task["errors"]] == expected
        assert task["attempt"] == 1 + len(expected)
    assert sorted(run.task for run in ledger.runs()) == sorted([*tasks, *long])


def test_an_idle_server_stops_without_waiting_for_its_grace(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG.replace("GRACE", "10m")) as server:
        server.workers("one", 3)
        assert server.stop() == 0


def test_a_second_signal_ends_it_at_once_and_its_tasks_run_again(tmp_path: Path) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    with Server(tmp_path, CONFIG.replace("GRACE", "10m")) as server, server.client() as client:
        client.enqueue("one", ledger.context(until=str(gate)))
        eventually(ledger.running)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not server.accepts())
        assert server.process.poll() is None
        assert server.stop() == 1
        assert server.processes() == set()
        gate.touch()
        server.start()
        (task,) = server.settle("one")
    assert [(error["kind"], error["charged"]) for error in task["errors"]] == [("interrupted", False)]
    assert [run.ended is not None for run in ledger.runs()] == [False, True]


@pytest.mark.parametrize("end", [stop, kill_it])
def test_a_restart_keeps_order_deadlines_pauses_scale_and_run_time_queues(
    end: Callable[[Server], None], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with Server(tmp_path, CONFIG.replace("GRACE", "2s")) as server, server.client() as client:
        _change_at_run_time(server)
        server.post("/api/queues/lined/pause")
        ranked = [(number % 3, client.enqueue("lined", ledger.context(), priority=number % 3).id) for number in range(30)]
        later = client.enqueue("one", ledger.context(), delay="1h").id
        failed = _fail(client, ledger, wait_ms=3_600_000)
        due_soon = _fail(client, ledger, wait_ms=3_000)
        before = {task_id: client.get(task_id) for task_id in (later, failed, due_soon)}
        end(server)
        server.start()
        assert {task_id: client.get(task_id) for task_id in (later, failed)} == {i: before[i] for i in (later, failed)}
        lined = server.queue("lined")
        assert (lined["state"], lined["settings"]["concurrency"]) == ("paused", 1)
        assert lined["settings"]["max_retries"] == 7
        assert lined["counts"]["available"] == 30
        assert server.queue("one")["settings"]["concurrency"] == 2
        assert len(server.workers("one", 2)) == 2
        server.post("/api/queues/lined/resume")
        server.settle("lined")
        ran_again = client.wait(due_soon)
        server.post(f"/api/tasks/{failed}/cancel")
    order = [task_id for _, task_id in sorted(ranked, key=lambda item: -item[0])]
    assert [run.task for run in ledger.runs() if run.task in order] == order
    assert ran_again.started_at is not None
    assert ran_again.started_at >= before[due_soon].run_at
    assert ran_again.attempt == 2


def _change_at_run_time(server: Server) -> None:
    body: dict[str, Any] = {"worker": PATH, "concurrency": 1, "max_retries": 7}
    assert plain_http.put(f"{server.url}/api/queues/lined", json=body, timeout=10).status_code == 201
    server.post("/api/queues/one/scale", {"concurrency": 2})


def _fail(client: Client, ledger: Ledger, wait_ms: int) -> str:
    """Return a task that has failed once and waits so long for its retry."""
    task = client.enqueue("one", ledger.context(fail=True), max_retries=1, backoff_ms=wait_ms)
    eventually(lambda: client.get(task.id).state == "retryable")
    return task.id
