"""Nothing of the tree survives the supervisor, the programs that tasks have started included."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from callboard.actors import processes
from callboard.actors.processes import Ident
from tests.support.killing import kill
from tests.support.polling import eventually
from tests.support.server import Server
from tests.system.lingering_tasks import PATH, STARTED

TICK_SECONDS = 0.01
"""The system counts in these: the least work may be what completes one."""

CONFIG = f"""
[shutdown]
grace = "100ms"
[queues.one]
worker = "{PATH}"
concurrency = 1
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, CONFIG) as server:
        yield server


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that lets the task end at once."""
    return tmp_path / "gate"


def enqueue(server: Server, gate: Path) -> set[Ident]:
    """Have a task start its programs, and return these."""
    with server.client() as client:
        client.enqueue("one", {"gate": str(gate)})
    return started_programs(server)


def started_programs(server: Server) -> set[Ident]:
    """Return the programs that the task has started, waiting for them."""
    worker = server.workers("one", 1)[0]

    def all_of_them() -> set[Ident]:
        found = {ident for ident in processes.descendants(worker) if processes.is_alive(ident)}
        return found if len(found) == STARTED else set()

    return eventually(all_of_them)


def start_again(server: Server, gate: Path) -> None:
    """Start on the same data and let the task end: it has been interrupted each time, and charged for none."""
    gate.touch()
    assert server.process is not None
    server.process.wait(5)  # where it has threads (coverage's), it is a zombie before they have ended
    server.start()
    (task,) = server.settle("one")
    assert {(error["kind"], error["charged"]) for error in task["errors"]} == {("interrupted", False)}


def test_nothing_that_a_task_has_started_survives_a_killed_supervisor(server: Server, gate: Path) -> None:
    programs = enqueue(server, gate)
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes(), within=5)
    assert not any(map(processes.is_alive, programs))
    start_again(server, gate)


def test_a_start_right_after_the_kill_waits_until_nothing_is_left(server: Server, gate: Path) -> None:
    enqueue(server, gate)
    before = server.processes()
    kill(server.part("supervisor"))
    start_again(server, gate)
    assert not before & server.processes()


def test_a_stopped_undertaker_is_done_out_of_its_work_by_the_next_start(server: Server, gate: Path) -> None:
    enqueue(server, gate)
    before = server.processes()
    os.kill(server.part("undertaker").pid, signal.SIGSTOP)
    kill(server.part("supervisor"))
    start_again(server, gate)
    assert not before & server.processes()


def test_a_killed_undertaker_takes_the_tree_with_it_and_is_replaced(server: Server, gate: Path) -> None:
    enqueue(server, gate)
    supervisor, before = server.part("supervisor"), server.processes()
    kill(server.part("undertaker"))
    eventually(lambda: server.processes() & before == {supervisor})
    started_programs(server)
    assert server.part("supervisor") == supervisor
    kill(supervisor)
    eventually(lambda: not server.processes(), within=5)
    start_again(server, gate)


def test_a_server_told_to_stop_leaves_nothing_that_a_task_has_started(server: Server, gate: Path) -> None:
    enqueue(server, gate)
    assert server.stop() == 0
    assert server.processes() == set()
    start_again(server, gate)


def test_signals_to_all_processes_at_once_are_the_supervisors_alone(server: Server) -> None:
    # systemd sends SIGTERM to every process of a service.
    undertaker = server.part("undertaker")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(undertaker.pid, number)
    assert server.stop() == 0
    assert not processes.is_alive(undertaker)


def test_the_undertaker_reaps_orphans_and_uses_no_time(server: Server, gate: Path) -> None:
    enqueue(server, gate)
    undertaker = psutil.Process(server.part("undertaker").pid)
    used = sum(undertaker.cpu_times()[:2])
    owner = server.owner("one")
    kill(owner)
    eventually(lambda: server.owner("one") != owner)
    assert psutil.STATUS_ZOMBIE not in {child.status() for child in undertaker.children()}
    assert sum(undertaker.cpu_times()[:2]) <= used + 2 * TICK_SECONDS * 1.01
