"""A queue with many workers: all of them are kept busy, and it answers meanwhile."""

from functools import partial
from pathlib import Path

import pytest

from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

WIDTH = 64
CONFIG = f"""
[queues.wide]
worker = "{PATH}"
concurrency = {WIDTH}
"""

pytestmark = pytest.mark.slow


def test_a_queue_of_64_keeps_all_busy_and_answers_meanwhile(tmp_path: Path) -> None:
    ledger, gates = Ledger(tmp_path / "ledger"), [tmp_path / "gate1", tmp_path / "gate2"]
    with Server(tmp_path, CONFIG) as server, server.client() as client:
        server.workers("wide", WIDTH)
        waves = [[{"queue": "wide", "context": ledger.context(until=str(gate))}] * WIDTH for gate in gates]
        first, second = ([task.id for task in client.enqueue_many(wave)] for wave in waves)
        for wave, gate in zip((first, second), gates, strict=True):
            eventually(partial(_are_running, ledger, wave))
            # All are busy: whoever is answered now is answered by a queue that waits for none of them.
            late = client.enqueue("wide", ledger.context())
            shown = server.queue("wide")
            assert shown["running"] == WIDTH
            assert [worker["state"] for worker in shown["workers"]] == ["busy"] * WIDTH
            assert client.cancel(late.id).state == "cancelled"
            assert sorted(run.task for run in ledger.running()) == sorted(wave)
            gate.touch()
        eventually(lambda: server.queue("wide")["counts"]["completed"] == 2 * WIDTH)
        tasks = [task for task in server.tasks("wide") if task["state"] == "completed"]
    runs = ledger.runs()
    assert sorted(run.task for run in runs) == sorted([*first, *second])
    assert len({run.pid for run in runs}) == WIDTH
    assert {(task["attempt"], len(task["errors"])) for task in tasks} == {(1, 0)}


def _are_running(ledger: Ledger, tasks: list[str]) -> bool:
    return {run.task for run in ledger.running()} == set(tasks)
