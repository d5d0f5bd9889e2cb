"""One transaction of a queue's owner in PostgreSQL: one statement for each kind of change, sent together."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import psycopg
from psycopg.errors import UniqueViolation

from callboard.actors.errors import DuplicateTask, StaleChange
from callboard.actors.store import KEY_MICROSECONDS, Change, Completion, HandOut, KeyUse, ReadyTask, TaskUpdate
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.columns import numbers, storable, texts
from callboard.actors.store.moving import state_after_move
from callboard.actors.store.postgres_connection import BoundedConnection
from callboard.actors.store.schema import DUE_STATES
from callboard.actors.store.sql_transaction import SqlTransaction

Cursor = psycopg.Cursor[tuple[Any, ...]]


class PostgresTransaction(SqlTransaction):
    """One open transaction; `PostgresQueueStore.transaction` begins and ends it."""

    statements: ClassVar[Any] = sql

    def __init__(self, connection: BoundedConnection, queue: str, now: int) -> None:
        super().__init__(queue, now)
        self._connection = connection

    def apply(self, change: Change) -> None:
        """Write the change in the order of its fields, one statement for each, and wait once for all of them.

        When it raises, the transaction can't be committed any more: a part of the change may be written.
        """
        self._spoiled = True
        expected: list[tuple[Cursor, int]] = []
        try:
            with self._connection.pipeline():
                self._send(change, expected)
        except UniqueViolation as error:
            if error.diag.constraint_name == "tasks_pkey":
                raise DuplicateTask("a task with one of these ids is in the store already") from error
            raise
        missed = sum(number - cursor.rowcount for cursor, number in expected)
        if missed:
            raise StaleChange(self._queue, missed)
        self._spoiled = False

    def _send(self, change: Change, expected: list[tuple[Cursor, int]]) -> None:
        if change.inserts:
            self._run(sql.INSERT_TASKS, of_queue=self._queue, **sql.inserted(change.inserts))
            self._tally.inserted(change.inserts)
        for ruling in change.rulings:
            self._run(sql.CONVICT if ruling.guilty else sql.ACQUIT, id=ruling.id)
        for updates in _waves(change.updates):
            changed = sql.changed(updates, TaskUpdate._fields)
            expected.append((self._run(sql.UPDATE_TASKS, **changed), len(updates)))
        if change.updates:
            self._tally.updated(change.updates)
        if change.completions:
            changed = sql.changed(change.completions, Completion._fields)
            expected.append((self._run(sql.COMPLETE, **changed), len(change.completions)))
            self._tally.completed(change.completions)
        if change.hand_outs:
            self._put_hand_outs(change.hand_outs)
        if change.hand_outs_ended:
            self._run(sql.END_HAND_OUTS, of_queue=self._queue, all_number=numbers(change.hand_outs_ended))
        if change.keys:
            self._put_keys(change.keys)

    def key_uses(self, keys: Sequence[str]) -> list[KeyUse]:
        """Return the uses of these keys, in any queue, that are younger than 24 h; nobody else uses them until the end."""
        with self._connection.pipeline():
            self._connection.execute(sql.LOCK_KEYS, (texts(keys),))
            rows = self._run(sql.KEY_USES, ids=texts(keys), after=self._now - KEY_MICROSECONDS)
        return [KeyUse(key, fingerprint, tuple(json.loads(ids)), queue) for key, fingerprint, ids, queue in rows]

    def move(self, task: ReadyTask, to: str, priority: int, run_at: int | None) -> bool:
        """Move a waiting task to another queue; False: there is none of that name."""
        if self._run(sql.LOCK_QUEUE, to=to).fetchone() is None:
            return False
        state = state_after_move(task)
        more = {f"more_{each}": int(each == state) for each in DUE_STATES}
        values = {"id": task.id, "was": task.state, "to": to, "new_state": str(state)}
        with self._connection.pipeline():
            self._run(sql.LOCK_COUNTS, of_queue=self._queue, to=to)
            self._run(sql.COUNT_MOVED, to=to, **more)
            moved = self._run(sql.MOVE, of_queue=self._queue, new_priority=priority, new_run_at=run_at, **values)
        if not moved.rowcount:
            raise StaleChange(self._queue, 1)
        self._tally.moved_away(task)
        return True

    def commit(self) -> None:
        """Write what the transaction changed in the queue's counts, and end it."""
        if self._spoiled:
            raise RuntimeError("a change of this transaction failed: it can only be undone")
        values = self._tally.values()
        with self._connection.pipeline():
            if values is not None:
                self._connection.execute(sql.ADD_COUNTS.sql, (*values, self._queue))
            self._connection.execute("COMMIT")

    def _put_hand_outs(self, batches: Sequence[HandOut]) -> None:
        newest = {batch.number: batch for batch in batches}.values()
        self._run(
            sql.PUT_HAND_OUTS,
            of_queue=self._queue,
            all_number=numbers(batch.number for batch in newest),
            all_worker=texts(batch.worker for batch in newest),
            all_ids=texts(json.dumps(batch.ids) for batch in newest),
        )
        for batch in newest:
            self._tally.handed_out(batch.number)

    def _put_keys(self, keys: list[KeyUse]) -> None:
        # Two old ones go for each new one, so that they can't pile up and no transaction pays for all of them.
        self._run(sql.OLD_KEYS_GO, before=self._now - KEY_MICROSECONDS, most=2 * len(keys) + 10)
        newest = {use.key: use for use in keys}.values()
        self._run(
            sql.PUT_KEYS,
            of_queue=self._queue,
            now=self._now,
            all_key=texts(use.key for use in newest),
            all_fingerprint=texts(use.fingerprint for use in newest),
            all_ids=texts(json.dumps(use.ids) for use in newest),
        )

    @staticmethod
    def _given(ids: Iterable[str]) -> str:
        return texts(storable(ids))

    def _make_available(self, due: Sequence[ReadyTask]) -> None:
        lanes, ranks = numbers(task.lane for task in due), numbers(task.rank for task in due)
        self._run(sql.MAKE_AVAILABLE, all_id=texts(task.id for task in due), all_lane=lanes, all_rank=ranks)

    def _run(self, statement: sql.Prepared, **values: Any) -> Cursor:
        return self._connection.execute(statement.sql, statement.bind(**values))


def _waves(updates: Sequence[TaskUpdate]) -> Iterator[Sequence[TaskUpdate]]:
    """Divide updates so that each part changes a task once: one statement can't do more. Nearly always it is one part."""
    if len({update.id for update in updates}) == len(updates):
        if updates:
            yield updates
        return
    wave: dict[str, TaskUpdate] = {}
    for update in updates:
        if update.id in wave:
            yield list(wave.values())
            wave = {}
        wave[update.id] = update
    yield list(wave.values())
