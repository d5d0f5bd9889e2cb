"""What a worker has written down of a batch counts, whoever dies before he has read it."""

import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from callboard.actors import Client, processes
from callboard.actors.processes import Ident
from tests.support.killing import kill
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

CONFIG = f"""
[queues.one]
worker = "{PATH}"
concurrency = 1
backoff = {{ strategy = "fixed", base = "50ms" }}
"""
MIDDLE = 20
AT_LEAST = 24
TRIES = 100

VICTIMS: dict[str, tuple[Callable[[Server], Ident], str]] = {
    "worker": (lambda server: server.workers("one", 1)[0], "crash"),
    "queue": (lambda server: server.owner("one"), "interrupted"),
    "supervisor": (lambda server: server.part("supervisor"), "interrupted"),
}
"""Whom to kill, and the kind of what is recorded for the task that runs then."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", VICTIMS)
def test_a_death_in_the_middle_of_a_large_batch_concerns_only_the_running_task(role: str, tmp_path: Path) -> None:
    find, kind = VICTIMS[role]
    ledger = Ledger(tmp_path / "ledger")
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        victim, worker = find(server), server.workers("one", 1)[0]
        ids, gate = _in_the_middle_of_a_large_batch(server, client, ledger, tmp_path)
        kill(victim)
        eventually(lambda: not processes.is_alive(worker))
        gate.touch()
        if role == "supervisor":
            eventually(lambda: not server.processes())
            server.start()
        tasks = [task for task in server.settle("one") if task["id"] in ids]
        runs = Counter(run.task for run in ledger.runs())
    assert len(tasks) == len(ids)
    middle = ids[MIDDLE]
    assert {task["id"]: runs[task["id"]] for task in tasks if runs[task["id"]] != 1} == {middle: 2}
    assert {task["id"]: [e["kind"] for e in task["errors"]] for task in tasks if task["errors"]} == {middle: [kind]}
    assert {task["id"]: task["attempt"] for task in tasks if task["attempt"] != 1} == {middle: 2}


def _in_the_middle_of_a_large_batch(server: Server, client: Client, ledger: Ledger, folder: Path) -> tuple[list[str], Path]:
    """Hold a worker up in a task before which it has run many others of the same batch, and after which more wait.

    Return all those tasks, and the file that the worker waits for. How many tasks make a batch depends on how fast the
    last ones ran, and after a while those that wait are given to others: on a busy machine this takes more than one try.
    """
    for number in range(TRIES):
        client.enqueue_many([{"queue": "one", "context": ledger.context()}] * 100)
        server.settle("one")
        gate = folder / f"gate{number}"
        wanted = [{"queue": "one", "context": ledger.context()} for _ in range(2 * MIDDLE)]
        wanted[MIDDLE]["context"] = ledger.context(until=str(gate))
        ids = [task.id for task in client.enqueue_many(wanted)]
        eventually(partial(_is_running, ledger, ids[MIDDLE]), every=0.001)
        if any(set(ids[:AT_LEAST]) <= set(batch) for batch in _handed_out(server)):
            return ids, gate
        gate.touch()
    raise AssertionError(f"no large batch in {TRIES} tries")


def _is_running(ledger: Ledger, task: str) -> bool:
    return any(run.task == task for run in ledger.running())


def _handed_out(server: Server) -> list[list[str]]:
    with closing(sqlite3.connect(server.data_dir / "callboard.db")) as database:
        return [json.loads(ids) for (ids,) in database.execute("SELECT ids FROM hand_outs")]


def test_what_ended_while_its_queue_was_deaf_is_not_run_again_when_that_dies(tmp_path: Path) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        task = client.enqueue("one", ledger.context(until=str(gate)))
        eventually(ledger.running)
        owner = server.owner("one")
        os.kill(owner.pid, signal.SIGSTOP)
        written = _journal_size(server)
        gate.touch()
        eventually(lambda: _journal_size(server) > written)
        assert processes.is_alive(owner)
        kill(owner)
        task = client.wait(task.id)
        assert (task.state, task.attempt, task.errors) == ("completed", 1, [])
        assert len(ledger.runs()) == 1


def _journal_size(server: Server) -> int:
    return sum(path.stat().st_size for path in (server.data_dir / "run" / "queues" / "one").glob("*.journal"))
