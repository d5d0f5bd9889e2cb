"""The second seed, Qui: what it says of workers and of how many tasks run at once, by line of the conformance list."""

from collections import Counter
from itertools import pairwise
from typing import Any

from callboard.actors import Client
from tests.support.ledger import PATH, Ledger, Run
from tests.support.polling import eventually
from tests.support.server import Server
from tests.system.slots_tasks import RUN, WAIT

CONFIG = f"""
[queues.cpu]
worker = "{PATH}"
concurrency = 3
[queues.io]
worker = "{WAIT}"
concurrency = 300
slots = 300
timeout = "10m"
[queues.strict]
worker = "{RUN}"
concurrency = 1
strict = true
max_retries = 0
[queues.strict_slots]
worker = "{RUN}"
concurrency = 4
slots = 4
strict = true
max_retries = 0
timeout = "10m"
"""


def test_q05_a_worker_runs_one_task_after_another_and_there_are_as_many_as_run_at_once(
    client: Client, ledger: Ledger
) -> None:
    tasks = client.enqueue_many([{"queue": "cpu", "context": ledger.context(ms=20)}] * 30)
    assert {client.wait(task.id).state for task in tasks} == {"completed"}
    by_worker: dict[int, list[Run]] = {}
    for run in ledger.runs():
        by_worker.setdefault(run.pid, []).append(run)
    assert len(by_worker) == 3
    for runs in by_worker.values():
        assert all(one.ended is not None and one.ended <= following.begun for one, following in pairwise(runs))


def test_q07_a_queue_that_waits_runs_hundreds_at_once_without_hundreds_of_processes(
    server: Server, client: Client, ledger: Ledger
) -> None:
    end = ledger.path.with_suffix(".end")
    busy = client.enqueue_many([{"queue": "cpu", "context": ledger.context(until=str(end))}] * 3)
    waiting = client.enqueue_many([{"queue": "io", "context": ledger.context(until=str(end))}] * 300)
    eventually(lambda: len(ledger.running()) == 303, within=30)
    where = {run.task: run.pid for run in ledger.running()}
    # One that computes has a process to itself; those that wait share one.
    assert sorted(Counter(where.values()).values()) == [1, 1, 1, 300]
    assert len({where[task.id] for task in waiting}) == 1
    end.touch()
    assert {client.wait(task.id).state for task in (*busy, *waiting)} == {"completed"}
    assert len(server.queue("io")["workers"]) == 1


def failed_fast(server: Server, client: Client, queue: str, context: dict[str, Any]) -> None:
    """Check that a wrong return is a failure that names the value, and that its worker is replaced."""
    (before,) = server.workers(queue, 1)
    task = client.wait(client.enqueue(queue, context).id)
    assert (task.state, [(e["kind"], e["charged"]) for e in task.errors]) == ("dead", [("returned", True)])
    assert "'done'" in task.errors[0]["message"]
    eventually(lambda: server.workers(queue, 1)[0] != before, within=20)


def test_q11_in_strict_mode_a_wrong_return_fails_fast(server: Server, client: Client, ledger: Ledger) -> None:
    failed_fast(server, client, "strict", ledger.context(give="done"))
    assert client.wait(client.enqueue("strict", ledger.context()).id).state == "completed"


def test_q11_with_slots_its_neighbours_end_before_the_worker_does(server: Server, client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    neighbours = client.enqueue_many([{"queue": "strict_slots", "context": ledger.context(until=str(end))}] * 2)
    eventually(lambda: len(ledger.running()) == 2)
    wrong = client.wait(client.enqueue("strict_slots", ledger.context(give="done")).id)
    assert [e["kind"] for e in wrong.errors] == ["returned"]
    eventually(lambda: len(server.queue("strict_slots")["workers"]) == 2)
    assert len(ledger.running()) == 2
    end.touch()
    assert all((client.wait(task.id).state, client.get(task.id).attempt) == ("completed", 1) for task in neighbours)
    assert len({run.pid for run in ledger.runs()}) == 1
    eventually(lambda: len(server.queue("strict_slots")["workers"]) == 1)
    failed_fast(server, client, "strict_slots", ledger.context(give="done"))
