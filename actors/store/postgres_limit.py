"""The plain loop of `limit` on PostgreSQL: each transaction goes to the server in one piece, and is waited for once."""

import json
from contextlib import closing

from callboard.actors.store import Change, Completion
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.columns import numbers, texts
from callboard.actors.store.limit import QUEUE, StoreLimit, counts_row, define, measure
from callboard.actors.store.postgres import PostgresStore
from callboard.actors.store.postgres_connection import BoundedConnection, connect
from callboard.actors.store.postgres_schema import new_schema
from callboard.actors.store.postgres_session import PLANS


def measure_postgres_limit(url: str, tasks: int, submit_batch: int, drain_batch: int) -> StoreLimit:
    """Measure in a new schema of this database, which is gone afterwards."""
    with new_schema(url, "callboard_limit") as here:
        define(PostgresStore(here, clock=lambda: 0))
        with closing(connect(here, "limit", PLANS)) as connection:
            return measure(PostgresPlain(connection), tasks, submit_batch, drain_batch)


class PostgresPlain:
    """PostgreSQL's side of it."""

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def write(self, change: Change, counts: tuple[int, int]) -> None:
        """Write the change in one transaction."""
        connection = self._connection
        with connection.pipeline():
            connection.execute("BEGIN")
            if change.inserts:
                self._run(sql.INSERT_TASKS, of_queue=QUEUE, **sql.inserted(change.inserts))
            if change.completions:
                self._run(sql.COMPLETE, **sql.changed(change.completions, Completion._fields))
            if change.hand_outs_ended:
                self._run(sql.END_HAND_OUTS, of_queue=QUEUE, all_number=numbers(change.hand_outs_ended))
            for batch in change.hand_outs:
                number, worker, ids = numbers([batch.number]), texts([batch.worker]), texts([json.dumps(batch.ids)])
                self._run(sql.PUT_HAND_OUTS, of_queue=QUEUE, all_number=number, all_worker=worker, all_ids=ids)
            connection.execute(sql.ADD_COUNTS.sql, counts_row(*counts))
            connection.execute("COMMIT")

    def read(self, after_rank: int, most: int) -> str:
        """Read so many available tasks in order and return the id of the last."""
        values = sql.READY.bind(of_queue=QUEUE, lane=0, rank=after_rank, most=most)
        return str(self._connection.execute(sql.READY.sql, values).fetchall()[-1][0])

    def _run(self, statement: sql.Prepared, **values: object) -> None:
        self._connection.execute(statement.sql, statement.bind(**values))
