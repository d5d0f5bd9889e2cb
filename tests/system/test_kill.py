"""Every process of a server that works is killed: nothing is lost, nothing runs twice without need."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from callboard.actors import processes
from callboard.actors.processes import Ident
from tests.support.judging import assert_each_once, assert_exact
from tests.support.killing import children, kill, kill_next_child
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server
from tests.support.submitting import Submitting

CREW = 3
QUEUE = f"""
worker = "{PATH}"
concurrency = {CREW}
max_retries = 20
backoff = {{ strategy = "fixed", base = "50ms" }}
"""
ALL_TASKS = 500

pytestmark = pytest.mark.slow


# Each kills one process and returns the workers that were killed themselves.


def one_worker(server: Server, queue: str, number: int = 0) -> list[Ident]:
    victim = server.workers(queue, CREW)[number]
    kill(victim)
    return [victim]


def a_newborn_worker(server: Server, queue: str) -> list[Ident]:
    """Kill a worker, and its successor as soon as that has a process."""
    owner = server.owner(queue)
    victim = server.workers(queue, CREW)[0]
    before = children(owner)
    assert processes.kill(victim)
    return [victim, kill_next_child(owner, before)]


def the_queue(server: Server, queue: str) -> list[Ident]:
    owner, workers = server.owner(queue), server.workers(queue, CREW)
    kill(owner)
    eventually(lambda: not any(map(processes.is_alive, workers)))
    assert server.owner(queue) != owner
    return []


def the(role: str, server: Server, queue: str) -> list[Ident]:
    """Kill a vital process: all but the supervisor are new then."""
    before, supervisor = server.processes(), server.part("supervisor")
    kill(server.part(role))
    eventually(lambda: not before & server.processes() - {supervisor})
    server.part(role)
    return []


def the_logger(server: Server, queue: str) -> list[Ident]:
    """Kill a process that matters to nobody: all others stay."""
    workers = server.workers(queue, CREW)  # they may still be starting after the last kill
    others, logger = server.processes(), server.part("logger")
    kill(logger)
    assert others - server.processes() == {logger}
    assert set(server.workers(queue, CREW)) == set(workers)
    return []


def the_supervisor(server: Server, queue: str) -> list[Ident]:
    """Kill the supervisor: nothing survives it. Then start the command again."""
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes(), within=5)
    assert not server.accepts()
    server.start()
    return []


Victim = Callable[[Server, str], list[Ident]]

VICTIMS: dict[str, Victim] = {
    "worker": one_worker,
    "newborn worker": a_newborn_worker,
    "queue": the_queue,
    "registry": partial(the, "registry"),
    "admin": partial(the, "admin"),
    "logger": the_logger,
    "server": partial(the, "server"),
    "supervisor": the_supervisor,
}


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("killed"), f"[queues.one]\n{QUEUE}") as server:
        yield server


@pytest.mark.parametrize("role", VICTIMS)
def test_tasks_outlive_the_death_of_a(role: str, long_lived: Server, tmp_path: Path) -> None:
    server, ledger = long_lived, Ledger(tmp_path / "ledger")
    with server.client() as client:
        ids = [task.id for task in client.enqueue_many([{"queue": "one", "context": ledger.context(ms=20)}] * 60)]
        eventually(lambda: ledger.ended() >= 5)
        killed = VICTIMS[role](server, "one")
        tasks = [task for task in server.settle("one") if task["id"] in ids]
    assert len(tasks) == len(ids)
    assert_exact(tasks, ledger, killed)
    assert len(server.workers("one", CREW)) == CREW


@pytest.mark.timeout(120)
def test_500_tasks_outlive_the_death_of_every_process_in_turn(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    turns: list[tuple[str, Victim]] = [
        (queue, partial(one_worker, number=number)) for queue in ("one", "two") for number in range(CREW)
    ]
    turns += [("two", victim) for role, victim in VICTIMS.items() if role != "worker"]
    task = {"context": ledger.context(ms=20, name="")}
    killed: list[Ident] = []
    with Server(tmp_path, f"[queues.one]\n{QUEUE}\n[queues.two]\n{QUEUE}") as server, server.client(60) as client:
        with Submitting(server.url, ("one", "two"), ledger.context(ms=20)) as submitting:
            client.enqueue_many([{"queue": ("one", "two")[i % 2], **task} for i in range(ALL_TASKS)])
            for number, (queue, victim) in enumerate(turns, 1):
                _wait_for_ends(ledger, ALL_TASKS * number // (len(turns) + 1))
                killed += victim(server, queue)
        tasks = server.settle("one") + server.settle("two")
    assert_exact(tasks, ledger, killed)
    assert_each_once(tasks, [*[""] * ALL_TASKS, *submitting.accepted])
    assert {task["id"] for task in tasks} >= set(submitting.accepted.values())


def _wait_for_ends(ledger: Ledger, count: int) -> None:
    eventually(lambda: ledger.ended() >= count, within=30)
