"""Processes that are stopped (SIGSTOP), which nobody is told of: the others go on, and the stopped one is replaced.

A stopped process is given up after ten seconds, so all of this happens at the same time: each scenario in a thread, those
that bring down a whole server in a server of their own. Each test waits for its scenario.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from callboard.actors import processes
from callboard.actors.processes import Ident
from callboard.actors.store.opening import open_store
from tests.support.judging import assert_exact
from tests.support.killing import stopped
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CREW = 2
QUEUE = f"""
worker = "{PATH}"
concurrency = {CREW}
backoff = {{ strategy = "fixed", base = "50ms" }}
"""
REPLACED_WITHIN_SECONDS = 30.0

pytestmark = pytest.mark.slow


def is_gone(ident: Ident) -> bool:
    return not processes.is_alive(ident)


def _runner(ledger: Ledger) -> Ident:
    """Return the worker that runs the only task that is running, once it does."""
    (run,) = eventually(ledger.running)
    ident = processes.identify(run.pid)
    assert ident is not None
    return ident


def an_idle_worker_is_replaced_when_it_takes_no_work(server: Server, queue: str, ledger: Ledger) -> None:
    victim = server.workers(queue, CREW)[0]
    with stopped(victim), server.client() as client:
        client.enqueue_many([{"queue": queue, "context": ledger.context(ms=1)}] * 40)
        tasks = server.settle(queue)
        assert processes.is_alive(victim)
        eventually(lambda: is_gone(victim), within=REPLACED_WITHIN_SECONDS)
        assert victim not in server.workers(queue, CREW)
    assert victim.pid not in {run.pid for run in ledger.runs()}
    assert_exact(tasks, ledger, [])


def an_idle_worker_that_wakes_up_finds_its_work_taken_back(server: Server, queue: str, ledger: Ledger) -> None:
    victim = server.workers(queue, CREW)[0]
    with server.client() as client:
        with stopped(victim):
            client.enqueue_many([{"queue": queue, "context": ledger.context(ms=1)}] * 40)
            assert_exact(server.settle(queue), ledger, [])
        eventually(lambda: [w["state"] for w in server.queue(queue)["workers"]] == ["idle"] * CREW)
        client.enqueue_many([{"queue": queue, "context": ledger.context(ms=20)}] * 20)
        tasks = server.settle(queue)
    assert [run.task for run in ledger.runs()] == list(dict.fromkeys(run.task for run in ledger.runs()))
    assert victim.pid in {run.pid for run in ledger.runs()}
    assert [task["errors"] for task in tasks] == [[]] * 60


def a_busy_worker_is_replaced_when_its_task_times_out(server: Server, queue: str, ledger: Ledger) -> None:
    gate = ledger.path.with_name("gate")
    with server.client() as client:
        held = client.enqueue(queue, ledger.context(until=str(gate)), timeout="1500ms")
        victim = _runner(ledger)
        with stopped(victim):
            other = client.wait(client.enqueue(queue, ledger.context()).id)
            gate.touch()
            held = client.wait(held.id)
            assert is_gone(victim)
    assert (other.attempt, other.errors) == (1, [])
    assert [(error["kind"], error["charged"]) for error in held.errors] == [("timeout", True)]
    assert (held.state, held.attempt) == ("completed", 2)
    assert [run.ended is None for run in ledger.runs() if run.task == held.id] == [True, False]


def a_worker_that_wakes_up_in_time_finishes_its_task(server: Server, queue: str, ledger: Ledger) -> None:
    gate = ledger.path.with_name("gate")
    with server.client() as client:
        held = client.enqueue(queue, ledger.context(until=str(gate)))
        victim = _runner(ledger)
        with stopped(victim):
            gate.touch()
            client.wait(client.enqueue(queue, ledger.context()).id)
            assert client.get(held.id).state == "executing"
        held = client.wait(held.id)
    assert (held.state, held.attempt, held.errors) == ("completed", 1, [])
    assert [run.pid for run in ledger.runs() if run.task == held.id] == [victim.pid]


def a_queue_is_replaced(server: Server, queue: str, ledger: Ledger) -> None:
    owner, workers = server.owner(queue), server.workers(queue, CREW)
    with server.client(60) as client, stopped(owner):
        os.kill(owner.pid, signal.SIGCONT)
        client.enqueue_many([{"queue": queue, "context": ledger.context(ms=100)}] * 20)
        os.kill(owner.pid, signal.SIGSTOP)
        elsewhere = client.wait(client.enqueue("bystander", ledger.context()).id)
        assert processes.is_alive(owner)
        # The stopped one does not answer; what it was sent is sent to its successor.
        client.enqueue(queue, ledger.context(ms=1))
        assert is_gone(owner)
        assert all(map(is_gone, workers))
        tasks = server.settle(queue)
    assert len(tasks) == 21
    assert_exact([*tasks, elsewhere.to_json()], ledger, [])


def a_queue_that_wakes_up_after_it_was_superseded_writes_nothing(server: Server, queue: str, ledger: Ledger) -> None:
    gate = ledger.path.with_name("gate")
    owner = server.owner(queue)
    with server.client(60) as client:
        held = client.enqueue(queue, ledger.context(until=str(gate)))
        eventually(ledger.running)
        with stopped(owner), closing(open_store(f"sqlite:///{server.data_dir}/callboard.db")) as store:
            store.own(queue)[0].close()
            gate.touch()
            eventually(lambda: not ledger.running())
        client.enqueue(queue, ledger.context(ms=1))
        assert client.wait(held.id).errors == []
        tasks = server.settle(queue)
        assert is_gone(owner)
    assert len(tasks) == 2
    assert_exact(tasks, ledger, [])


def a_dead_letter_silences_nobody_who_sends_to_it(server: Server, queue: str, ledger: Ledger) -> None:
    victim = server.owner("dead_letter")
    with server.client() as client, stopped(victim):
        for _ in range(30):
            doomed = client.enqueue(queue, ledger.context(fail=True), max_retries=0)
            assert client.wait(doomed.id).state == "dead"
        assert client.wait(client.enqueue(queue, ledger.context()).id).state == "completed"
        assert processes.is_alive(victim)
        eventually(lambda: is_gone(victim), within=REPLACED_WITHIN_SECONDS)
    assert server.owner("dead_letter") != victim
    assert sum(task["queue"] == queue for task in server.get("/api/dead", limit=1000)["data"]) == 30


def a_registry_is_replaced(server: Server, queue: str, ledger: Ledger) -> None:
    supervisor, victim = server.part("supervisor"), server.part("registry")
    with server.client(60) as client:
        client.enqueue_many([{"queue": queue, "context": ledger.context(ms=100)}] * 200)
        with stopped(victim):
            done = ledger.ended()
            client.enqueue(queue, ledger.context(ms=1), priority=1)
            eventually(lambda: ledger.ended() > done + 2 * CREW)
            assert processes.is_alive(victim)
            eventually(lambda: is_gone(victim), within=REPLACED_WITHIN_SECONDS)
        tasks = server.settle(queue)
    assert server.part("registry") != victim
    assert server.part("supervisor") == supervisor
    assert len(tasks) == 201
    assert_exact(tasks, ledger, [])


def a_server_is_replaced(server: Server, queue: str, ledger: Ledger) -> None:
    supervisor, victim = server.part("supervisor"), server.part("server")
    with server.client(60) as client:
        client.enqueue_many([{"queue": queue, "context": ledger.context(ms=100)}] * 200)
        with stopped(victim):
            done = ledger.ended()
            eventually(lambda: ledger.ended() > done + 2 * CREW)
            assert processes.is_alive(victim)
            client.enqueue(queue, ledger.context(ms=1))
            assert is_gone(victim)
        tasks = server.settle(queue)
    assert server.part("server") != victim
    assert server.part("supervisor") == supervisor
    assert len(tasks) == 201
    assert_exact(tasks, ledger, [])


Scenario = Callable[[Server, str, Ledger], None]

IN_ONE_SERVER: list[Scenario] = [
    an_idle_worker_is_replaced_when_it_takes_no_work,
    an_idle_worker_that_wakes_up_finds_its_work_taken_back,
    a_busy_worker_is_replaced_when_its_task_times_out,
    a_worker_that_wakes_up_in_time_finishes_its_task,
    a_queue_is_replaced,
    a_queue_that_wakes_up_after_it_was_superseded_writes_nothing,
    a_dead_letter_silences_nobody_who_sends_to_it,
]
IN_A_SERVER_EACH: list[Scenario] = [a_registry_is_replaced, a_server_is_replaced]


@pytest.fixture(scope="module")
def under_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[None]]]:
    def play(scenario: Scenario, server: Server) -> None:
        folder: Path = tmp_path_factory.mktemp("ledger")
        scenario(server, scenario.__name__, Ledger(folder / "ledger"))

    def configuration(scenarios: list[Scenario]) -> str:
        return "\n".join(f"[queues.{name}]{QUEUE}" for name in ("bystander", *(s.__name__ for s in scenarios)))

    groups = [IN_ONE_SERVER, *([scenario] for scenario in IN_A_SERVER_EACH)]
    with ExitStack() as servers:
        started = [servers.enter_context(Server(tmp_path_factory.mktemp("server"), configuration(g))) for g in groups]
        with ThreadPoolExecutor(sum(map(len, groups))) as threads:
            yield {
                scenario: threads.submit(partial(play, scenario, server))
                for server, group in zip(started, groups, strict=True)
                for scenario in group
            }


@pytest.mark.parametrize("scenario", [*IN_ONE_SERVER, *IN_A_SERVER_EACH], ids=lambda scenario: scenario.__name__)
def test_of_processes_that_are_stopped(scenario: Scenario, under_way: dict[Scenario, Future[None]]) -> None:
    assert under_way[scenario].result() is None
