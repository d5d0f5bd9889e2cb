"""One transaction of a queue's owner in SQLite: the rows that it writes, and the counts that change with them."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from callboard.actors.errors import DuplicateTask, StaleChange
from callboard.actors.store import KEY_MICROSECONDS, Change, Completion, KeyUse, ReadyTask, TaskUpdate
from callboard.actors.store import statements as sql
from callboard.actors.store.moving import state_after_move
from callboard.actors.store.schema import DUE_STATES
from callboard.actors.store.sql_transaction import SqlTransaction


class SqliteTransaction(SqlTransaction):
    """One open transaction; `SqliteQueueStore.transaction` begins and ends it."""

    statements: ClassVar[Any] = sql

    def __init__(self, connection: sqlite3.Connection, queue: str, now: int) -> None:
        super().__init__(queue, now)
        self._connection = connection

    def apply(self, change: Change) -> None:
        """Write the change in the order of its fields, one `executemany` for each.

        When it raises, the transaction can't be committed any more: a part of the change may be written.
        """
        self._spoiled = True
        self._apply(change)
        self._spoiled = False

    def _apply(self, change: Change) -> None:
        if change.inserts:
            self._insert(change)
        for ruling in change.rulings:
            self._run(sql.CONVICT if ruling.guilty else sql.ACQUIT, id=ruling.id)
        if change.updates:
            self._many(sql.UPDATE_TASK, change.updates, TaskUpdate._fields)
            self._tally.updated(change.updates)
        if change.completions:
            self._many(sql.COMPLETE, change.completions, Completion._fields)
            self._tally.completed(change.completions)
        for batch in change.hand_outs:
            ids = json.dumps(batch.ids)
            self._run(sql.PUT_HAND_OUT, queue=self._queue, number=batch.number, worker=batch.worker, ids=ids)
            self._tally.handed_out(batch.number)
        for number in change.hand_outs_ended:
            self._run(sql.END_HAND_OUT, of_queue=self._queue, number=number)
        if change.keys:
            self._put_keys(change.keys)

    def key_uses(self, keys: Sequence[str]) -> list[KeyUse]:
        """Return the uses of these keys, in any queue, that are younger than 24 h."""
        rows = self._run(sql.KEY_USES, ids=json.dumps(list(keys)), after=self._now - KEY_MICROSECONDS)
        return [KeyUse(key, fingerprint, tuple(json.loads(ids)), queue) for key, fingerprint, ids, queue in rows]

    def move(self, task: ReadyTask, to: str, priority: int, run_at: int | None) -> bool:
        """Move a waiting task to another queue; False: there is none of that name."""
        state = state_after_move(task)
        more = {f"more_{each}": int(each == state) for each in DUE_STATES}
        if not self._run(sql.COUNT_MOVED, to=to, **more).rowcount:
            return False
        values = {"id": task.id, "was": task.state, "to": to, "new_state": str(state)}
        changed = self._run(sql.MOVE, of_queue=self._queue, new_priority=priority, new_run_at=run_at, **values).rowcount
        if not changed:
            raise StaleChange(self._queue, 1)
        self._tally.moved_away(task)
        return True

    def store_counts(self) -> None:
        """Write what the transaction changed in the queue's counts: its last statement."""
        if self._spoiled:
            raise RuntimeError("a change of this transaction failed: it can only be undone")
        values = self._tally.values()
        if values is not None:
            self._connection.execute(sql.ADD_COUNTS.sql, (*values, self._queue))

    def _insert(self, change: Change) -> None:
        try:
            self._connection.executemany(sql.INSERT_TASK.sql, sql.insert_rows(change.inserts, self._queue))
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                raise DuplicateTask("a task with one of these ids is in the store already") from error
            raise
        self._tally.inserted(change.inserts)

    def _put_keys(self, keys: list[KeyUse]) -> None:
        # Two old ones go for each new one, so that they can't pile up and no transaction pays for all of them.
        self._run(sql.OLD_KEYS_GO, before=self._now - KEY_MICROSECONDS, most=2 * len(keys) + 10)
        self._connection.executemany(
            sql.PUT_KEY.sql,
            [(use.key, self._queue, use.fingerprint, json.dumps(use.ids), self._now) for use in keys],
        )

    def _many(self, statement: sql.Prepared, changes: Sequence[tuple[Any, ...]], fields: Sequence[str]) -> None:
        changed = self._connection.executemany(statement.sql, statement.rows(changes, fields)).rowcount
        if changed != len(changes):
            raise StaleChange(self._queue, len(changes) - changed)

    @staticmethod
    def _given(ids: Iterable[str]) -> str:
        return json.dumps(list(ids))

    def _make_available(self, due: Sequence[ReadyTask]) -> None:
        self._connection.executemany(sql.MAKE_AVAILABLE.sql, sql.MAKE_AVAILABLE.rows(due, ReadyTask._fields))

    def _run(self, statement: sql.Prepared, **values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement.sql, statement.bind(**values))


@contextmanager
def written(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a write transaction: committed at its end, or rolled back when anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on a full disk SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        raise
