"""The second seed, Qui, line by line: each test is named for its line of the conformance list.

Lines 5, 7 and 11 are about slots and strict workers, in a file of their own.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import Client
from callboard.actors.errors import StaleClaim
from callboard.actors.task import Task
from tests.seeds.qui_tasks import HERE
from tests.support import plain_http
from tests.support.killing import kill
from tests.support.ledger import Ledger, Run
from tests.support.polling import eventually
from tests.support.server import CALLBOARD, Server

CONFIG = f"""
[queues.bare]
[queues.other]
[queues.good]
worker = "{HERE}:play"
concurrency = 1
[queues.bad]
worker = "{HERE}:play"
concurrency = 2
max_retries = 50
backoff = {{ strategy = "none" }}
[queues.once]
worker = "{HERE}:play"
concurrency = 1
delivery = "at_most_once"
backoff = {{ strategy = "none" }}
[queues.refusing]
worker = "{HERE}:refuse"
[queues.kinds]
types = {{ Upper = "{HERE}:Upper", Reverse = "{HERE}:Reverse" }}
"""


def runs_of(ledger: Ledger, task: Task) -> list[Run]:
    return [run for run in ledger.runs() if run.task == task.id]


def kinds(task: Task) -> list[tuple[str, bool]]:
    return [(error["kind"], error["charged"]) for error in task.errors]


def test_qui_01_a_job_is_returned_with_its_id_and_may_hold_any_json(client: Client) -> None:
    values: list[Any] = [None, True, -0.5, "text", [1, [2]], {"a": {"b": []}}, 2**70]
    jobs = [client.enqueue("other", {"job": value}) for value in values]
    assert len({job.id for job in jobs}) == len(values)
    fetched = client.dequeue("other", max=len(values))
    assert [task.context["job"] for task in fetched] == values
    assert client.ack_many([(task, None) for task in fetched]) == ["done"] * len(values)


def test_qui_02_a_queue_without_workers_is_worked_from_a_process_of_ones_own(client: Client) -> None:
    good, bad, late = (client.enqueue("bare", {"n": n}, max_retries=0) for n in range(3))
    first, second, third = client.dequeue("bare", max=3, lease="30s")
    assert client.ack(first, {"made": 1}).state == "completed"
    assert client.fail(second, "out of paper").state == "dead"
    assert client.heartbeat(third, "100ms").state == "executing"
    assert client.wait(late.id).errors[0]["kind"] == "expired"
    with pytest.raises(StaleClaim):
        client.ack(third)
    assert (client.get(good.id).result, client.get(bad.id).errors[0]["message"]) == ({"made": 1}, "out of paper")


def test_qui_03_dequeue_of_an_empty_queue_says_empty(server: Server, client: Client) -> None:
    assert server.post("/api/queues/bare/dequeue", {"max": 5, "lease_ms": 1_000}) == {"data": []}
    assert client.dequeue("bare", wait=0.05) == []


def test_qui_04_high_goes_before_low_however_old_and_equals_in_their_order(client: Client) -> None:
    order = [("a", "low"), ("b", "low"), ("c", "high"), ("d", "low"), ("e", "high")]
    names = {client.enqueue("bare", priority=priority).id: name for name, priority in order}
    fetched = [client.dequeue("bare")[0] for _ in order]
    assert [names[task.id] for task in fetched] == ["c", "e", "a", "b", "d"]
    client.ack_many([(task, None) for task in fetched])


def test_qui_06_failing_slow_and_crashing_jobs_of_one_queue_do_not_delay_another(client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    slow = client.enqueue("bad", ledger.context(until=str(end)))
    crashing = [client.enqueue("bad", ledger.context(die=True)) for _ in range(3)]
    eventually(lambda: any(len(runs_of(ledger, task)) > 2 for task in crashing))
    good = [client.enqueue("good", ledger.context()) for _ in range(20)]
    assert [client.wait(task.id).state for task in good] == ["completed"] * 20
    assert client.get(slow.id).state == "executing"
    assert all(client.get(task.id).finished_at is None for task in crashing)
    for task in crashing:
        client.cancel(task.id)
    end.touch()
    client.wait(slow.id)


def test_qui_08_a_job_whose_worker_crashes_is_lost_and_not_run_again(client: Client, ledger: Ledger) -> None:
    job = client.enqueue("once", ledger.context(die=True))
    after = client.enqueue("once", ledger.context())
    assert client.wait(after.id).state == "completed"
    lost = client.get(job.id)
    assert (lost.state, lost.attempt, kinds(lost)) == ("dead", 1, [("lost", True)])
    assert lost.errors[0]["exit"] == "SIGKILL"
    assert len(runs_of(ledger, job)) == 1


def test_qui_08_a_job_that_says_that_it_failed_is_retried(client: Client, ledger: Ledger) -> None:
    job = client.wait(client.enqueue("once", ledger.context(fail=True), max_retries=2).id)
    assert (job.state, kinds(job)) == ("dead", [("error", True)] * 3)


def the_queue(server: Server) -> None:
    owner = server.owner("once")
    kill(owner)
    eventually(lambda: server.queue("once")["pid"] not in {None, owner.pid})


def the_supervisor(server: Server) -> None:
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes(), within=5)
    server.start()


@pytest.mark.parametrize("killed", [the_queue, the_supervisor])
def test_qui_08_what_was_handed_over_when_the_server_died_is_lost_and_the_rest_is_not(
    tmp_path: Path, ledger: Ledger, killed: Callable[[Server], None]
) -> None:
    end = ledger.path.with_suffix(".end")
    with Server(tmp_path / "server", CONFIG) as server, server.client() as client:
        running = client.enqueue("once", ledger.context(until=str(end)))
        eventually(ledger.running)
        waiting = [client.enqueue("once", ledger.context()) for _ in range(5)]
        killed(server)
        end.touch()
        assert [client.wait(task.id).state for task in waiting] == ["completed"] * 5
        lost = client.get(running.id)
        assert (lost.state, kinds(lost)) == ("dead", [("lost", True)])
        assert [len(runs_of(ledger, task)) for task in (running, *waiting)] == [1] * 6


def test_qui_08_a_job_whose_consumer_says_nothing_is_lost(server: Server, client: Client) -> None:
    answer = plain_http.put(f"{server.url}/api/queues/pulled-once", json={"delivery": "at_most_once"}, timeout=20)
    assert answer.status_code == 201
    job = client.enqueue("pulled-once")
    (task,) = client.dequeue("pulled-once", lease="50ms")
    lost = client.wait(job.id)
    assert (task.id, lost.state, kinds(lost)) == (job.id, "dead", [("lost", True)])


def test_qui_09_a_job_that_takes_too_long_is_killed_counted_and_retried(client: Client, ledger: Ledger) -> None:
    end = ledger.path.with_suffix(".end")
    job = client.enqueue("good", ledger.context(until=str(end)), timeout="200ms", backoff_ms=0)
    eventually(lambda: client.get(job.id).errors)
    end.touch()
    done = client.wait(job.id)
    assert (done.state, set(kinds(done)), done.attempt) == ("completed", {("timeout", True)}, len(done.errors) + 1)
    assert len({run.pid for run in runs_of(ledger, job)}) == done.attempt


def test_qui_10_an_exception_that_nobody_caught_equals_a_returned_error(client: Client) -> None:
    jobs = [client.enqueue("refusing", {"raise": how}, max_retries=1, backoff_ms=0) for how in (True, False)]
    raised, returned = (client.wait(job.id) for job in jobs)
    assert (raised.state, kinds(raised)) == (returned.state, kinds(returned)) == ("dead", [("error", True)] * 2)
    assert (raised.errors[0]["message"], returned.errors[0]["message"]) == ("ValueError: no", "no")


def test_qui_12_the_value_of_a_success_is_kept(client: Client) -> None:
    job = client.enqueue("kinds", {"text": "abc"}, type="Upper")
    assert client.wait(job.id).result == "ABC"


def test_qui_13_a_job_is_done_by_the_perform_of_its_own_kind(client: Client) -> None:
    jobs = [client.enqueue("kinds", {"text": "abc"}, type=kind) for kind in ("Upper", "Reverse", "Upper")]
    assert [client.wait(job.id).result for job in jobs] == ["ABC", "cba", "ABC"]


def test_qui_14_the_workers_sit_in_a_tree_that_one_can_look_at(server: Server) -> None:
    workers = server.workers("bad", 2)
    command = [str(CALLBOARD), "tree", "--json", "--data-dir", str(server.data_dir)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {worker.pid for worker in workers} <= pids_below(json.loads(shown), server.owner("bad").pid)


def pids_below(shown: object, owner: int) -> set[int]:
    """Return the pids that stand below an owner's in a nested answer."""
    if isinstance(shown, list):
        return set().union(*(pids_below(one, owner) for one in shown))
    if not isinstance(shown, dict):
        return set()
    if shown.get("pid") == owner:
        return all_pids(shown)
    return set().union(*(pids_below(one, owner) for one in shown.values()))


def all_pids(shown: object) -> set[int]:
    if isinstance(shown, list):
        return set().union(*map(all_pids, shown))
    if not isinstance(shown, dict):
        return set()
    return set().union(*map(all_pids, shown.values())) | ({shown["pid"]} if "pid" in shown else set())


@pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127/8 is this machine")
def test_qui_15_a_queue_is_worked_from_another_node(tmp_path: Path) -> None:
    token = "s3cret-and-long-enough"
    config = f'[http]\nhost = "0.0.0.0"\ntoken = "{token}"\n[queues.far]\n'
    with Server(tmp_path, config) as server:
        # Another address than the server's own loopback: that is what another node comes by.
        url = f"http://127.0.0.2:{server.port}"
        with Client(url, token, timeout=30) as there, Client(url, token, timeout=30) as elsewhere:
            job = there.enqueue("far", {"n": 1})
            (task,) = elsewhere.dequeue("far", wait="20s", consumer="node b")
            assert elsewhere.ack(task, {"by": "node b"}).id == job.id
            assert there.wait(job.id).result == {"by": "node b"}
        assert plain_http.post(f"{url}/api/queues/far/dequeue", json={"max": 1, "lease_ms": 1}).status_code == 401


def test_qui_16_after_a_restart_the_same_jobs_are_there_in_the_same_order(tmp_path: Path) -> None:
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        jobs = [client.enqueue("bare", {"n": n}, priority=n % 3) for n in range(30)]
        expected = [job.id for job in sorted(jobs, key=lambda job: -job.priority)]
        first = [task.id for task in client.dequeue("bare", max=10)]
        the_supervisor(server)
        second = [task.id for task in client.dequeue("bare", max=10)]
        assert server.stop() == 0
        server.start()
        assert first + second + [task.id for task in client.dequeue("bare", max=99)] == expected
