"""How PostgreSQL finds what an owner asks for: through which index, whatever its statistics say."""

import re
from collections.abc import Iterator

import psycopg
import pytest

from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.opening import open_store
from callboard.actors.store.postgres_connection import BoundedConnection, connect
from callboard.actors.store.postgres_session import PLANS
from tests.store.made import NOW, QUEUE, insert, put
from tests.support.postgres import PostgresServer

PREPARED = {name: prepared for name, prepared in vars(sql).items() if isinstance(prepared, sql.Prepared)} | {
    f"IDS_IN_STATE {state}": prepared for state, prepared in sql.IDS_IN_STATE.items()
}
DEFINITIONS = {"HALF_DELETED", "NEXT_INCARNATION", "BECOME_OWNER", "PUT_QUEUE", "PUT_COUNTS", "MARK_DELETED"}
"""These are about the few queues."""
SERVED = {
    "READY": "tasks_ready",
    "FIRST_OF_NEXT_LANE": "tasks_ready",
    "DUE": "tasks_due",
    "NEXT_DUE": "tasks_due",
    "PURGE": "tasks_finished",
    "OLD_KEYS_GO": "key_uses_created",
    "COMPLETE": "tasks_pkey",
    "UPDATE_TASKS": "tasks_pkey",
    "MAKE_AVAILABLE": "tasks_pkey",
    "LOAD": "tasks_pkey",
    "EXISTING": "tasks_pkey",
}


@pytest.fixture(scope="module")
def session(postgres_server: PostgresServer) -> Iterator[BoundedConnection]:
    """An owner's session on a table whose statistics are wrong: they are of the time when there was next to nothing."""
    url = postgres_server.new_database(migrated=True)
    store = open_store(url)
    store.put_queue(QUEUE, "{}", "", NOW)
    owner, _ = store.own(QUEUE)
    put(owner, insert(1))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    for start in range(0, 20_000, 5_000):
        put(owner, *(insert(number) for number in range(start + 10, start + 5_010)))
    owner.close()
    store.close()
    with connect(url, "plans", PLANS) as connection:
        yield connection


def plan(connection: BoundedConnection, prepared: sql.Prepared) -> str:
    numbers = iter(range(1, 100))
    statement = re.sub(r"%s", lambda _: f"${next(numbers)}", prepared.sql)
    with psycopg.RawCursor(connection) as cursor:
        return "\n".join(row[0] for row in cursor.execute(f"EXPLAIN (GENERIC_PLAN) {statement}", prepare=False))


@pytest.mark.parametrize("name", PREPARED)
def test_no_statement_of_an_owner_walks_a_table(session: BoundedConnection, name: str) -> None:
    steps = plan(session, PREPARED[name])
    if name not in DEFINITIONS:
        assert not re.search(r"Seq Scan on (tasks|counts|hand_outs|key_uses)", steps), steps
    if name in SERVED:
        assert f"using {SERVED[name]} " in steps, steps
    if name in {"READY", "FIRST_OF_NEXT_LANE", "DUE", "PURGE"}:
        assert "Sort" not in steps, steps
