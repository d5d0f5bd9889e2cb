"""A queue with many tasks is deleted while the server goes on with everything else."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import plain_http
from tests.support import server as server_module
from tests.support.killing import kill
from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.server import Server

SILENCE_SECONDS = 5
NUMBER = 600
CONFIG = f"""
[queues.one]
worker = "{PATH}"
concurrency = 1
[queues.large]
worker = "{PATH}"
concurrency = 1
"""
IMPATIENT = f"""#!{sys.executable}
from functools import partial
from callboard.actors.cli import main, serving
serving.Serving = partial(serving.Serving, silence_seconds={SILENCE_SECONDS})
main()
"""
SLOW = """
CREATE TRIGGER slow BEFORE DELETE ON tasks WHEN old.queue = 'large' BEGIN
    SELECT sum(value) FROM (
        WITH RECURSIVE numbers(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 40000)
        SELECT value FROM numbers
    );
END
"""
"""So a task takes some milliseconds to go, like thousands would that are large."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that takes its Registry for hung soon, with a queue whose tasks are slow to delete."""
    command = tmp_path / "impatient"
    command.write_text(IMPATIENT)
    command.chmod(0o700)
    monkeypatch.setattr(server_module, "CALLBOARD", command)
    with Server(tmp_path / "server", CONFIG) as server:
        server.post("/api/queues/large/pause")
        tasks = [{"queue": "large", "context": {}}] * (NUMBER // 3)
        for _ in range(3):
            server.post("/api/tasks/batch", {"tasks": tasks})
        with closing(database(server)) as connection:
            connection.execute(SLOW)
        yield server


def database(server: Server) -> sqlite3.Connection:
    return sqlite3.connect(server.data_dir / "callboard.db", timeout=30)


def left(server: Server) -> int:
    """Count the rows of the queue's tasks, whether anybody may see them or not."""
    with closing(database(server)) as connection:
        number: int = connection.execute("SELECT count(*) FROM tasks WHERE queue = 'large'").fetchone()[0]
    return number


def delete_large(server: Server) -> None:
    answer = plain_http.delete(f"{server.url}/api/queues/large", params={"force": "true"}, timeout=30)
    assert answer.status_code == 204, answer.text


def test_a_large_queue_is_deleted_without_a_word_from_the_others(server: Server, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    gate = tmp_path / "gate"
    registry = server.part("registry")
    with server.client() as client:
        running = client.enqueue("one", ledger.context(until=str(gate)))
        eventually(ledger.running)
        one_of_them = server.get("/api/tasks", queue="large", limit=1)["data"][0]["id"]
        delete_large(server)
        assert left(server) > 0
        assert plain_http.get(f"{server.url}/api/queues/large").status_code == 404
        assert plain_http.get(f"{server.url}/api/tasks/{one_of_them}").status_code == 404
        assert [task["id"] for task in server.get("/api/tasks")["data"]] == [running.id]
        refused = plain_http.put(f"{server.url}/api/queues/large", json={"worker": PATH}, timeout=30)
        assert (refused.status_code, "still being deleted" in refused.text) == (503, True)
        made = plain_http.put(f"{server.url}/api/queues/other", json={"worker": PATH, "concurrency": 1}, timeout=30)
        assert made.status_code == 201
        assert client.wait(client.enqueue("other", ledger.context()).id).state == "completed"
        eventually(lambda: left(server) == 0, within=120, every=0.2)
        gate.touch()
        done = client.wait(running.id)
    assert (done.state, done.attempt, done.errors) == ("completed", 1, []), server.log()
    assert server.part("registry") == registry

    def put() -> Any:
        return plain_http.put(f"{server.url}/api/queues/large", json={"worker": PATH}, timeout=30).status_code == 201

    eventually(put)
    assert sum(server.queue("large")["counts"].values()) == 0


def test_a_deletion_that_was_cut_short_is_finished_after_the_restart_and_the_configured_queue_comes_up(
    server: Server, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    delete_large(server)
    eventually(lambda: left(server) < NUMBER)
    kill(server.part("supervisor"))
    eventually(lambda: not server.processes())
    assert 0 < left(server) < NUMBER
    with closing(database(server)) as connection:
        connection.execute("DROP TRIGGER slow")
    server.start()
    with server.client(60) as client:
        assert client.wait(client.enqueue("one", ledger.context()).id).state == "completed"
        eventually(lambda: left(server) == 0, within=120, every=0.2)
        eventually(lambda: plain_http.get(f"{server.url}/api/queues/large").status_code == 200)
        assert client.wait(client.enqueue("large", ledger.context()).id).state == "completed"
    assert sum(server.queue("large")["counts"].values()) == 1
