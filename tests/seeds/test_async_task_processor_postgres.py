"""The fifth seed, AsyncTaskProcessor, its line about PostgreSQL: the tasks can be queried there by whoever may."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tests.support.ledger import PATH, Ledger
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer
from tests.support.server import Server

CONFIG = f"""
[queues.one]
worker = "{PATH}"
backoff = {{ strategy = "fixed", base = "50ms" }}
"""
SELECT = """
SELECT id, priority, type, state, backoff, context, created_at, created_by, started_at, finished_at, errors
FROM tasks WHERE id = %s
"""


def test_async_11_every_change_of_a_task_is_to_be_queried_in_postgresql(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url, ledger, gate = postgres_server.new_database(), Ledger(tmp_path / "ledger"), tmp_path / "gate"

    def row(task_id: str) -> dict[str, Any]:
        with closing(psycopg.connect(url)) as database:
            cursor = database.execute(SELECT, (task_id,))
            found = cursor.fetchone()
            assert found is not None
            assert cursor.description is not None
            return {column.name: value for column, value in zip(cursor.description, found, strict=True)}

    with Server(tmp_path, CONFIG, arguments=("--store", url)) as server, server.client() as client:
        later = client.enqueue("one", ledger.context(), delay="1h", priority=1)
        stored = row(later.id)
        assert (stored["state"], stored["priority"], stored["started_at"]) == ("scheduled", 1, None)
        assert json.loads(stored["backoff"])["base_ms"] == 50
        assert json.loads(stored["context"]) == ledger.context()
        assert stored["created_at"] > 0
        assert stored["created_by"]

        held = client.enqueue("one", ledger.context(until=str(gate)))
        eventually(lambda: row(held.id)["state"] == "executing")
        assert row(held.id)["started_at"] >= row(held.id)["created_at"]
        gate.touch()
        eventually(lambda: row(held.id)["state"] == "completed")
        assert row(held.id)["finished_at"] >= row(held.id)["started_at"]

        failing = client.enqueue("one", {"no": "ledger"}, max_retries=0)
        eventually(lambda: row(failing.id)["state"] == "dead")
        (error,) = json.loads(row(failing.id)["errors"])
        assert error["kind"] == "error"
        assert error["message"]
