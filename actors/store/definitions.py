"""The statements that make, own and delete queues: seldom run."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, literal_column, select, update
from sqlalchemy.dialects import sqlite

from callboard.actors.store.dialects import Elements, unindexed
from callboard.actors.store.rows import QUEUE_COLUMNS
from callboard.actors.store.schema import COUNTED, counts, hand_outs, is_any, key_uses, queues, sequences, tasks
from callboard.actors.store.statements import is_given, literal, most, prepare
from callboard.actors.task import CLAIMED, TaskState

_ONE: ColumnElement[Any] = literal_column("1")
_NO: ColumnElement[Any] = literal_column("0")


def _named(column: Any) -> Any:
    return column == bindparam("of_queue")


NEXT_INCARNATION = prepare(
    update(sequences)
    .where(sequences.c.name == literal("incarnation"))
    .values(value=sequences.c.value + _ONE)
    .returning(sequences.c.value),
)
BECOME_OWNER = prepare(
    update(queues)
    .where(_named(queues.c.name), queues.c.deleted == _NO)
    .values(incarnation=bindparam("new_incarnation"))
    .returning(queues.c.paused, queues.c.settings, queues.c.settings_version),
)


def put_queue(insert: Callable[[Any], Any]) -> Any:
    """Write the statement that makes a queue or replaces its settings, by a dialect's own `insert`.

    It returns no row where the name is that of a deleted queue whose tasks are still being removed.
    """
    put = insert(queues).values({name: bindparam(name) for name in ("name", "settings", "configured", "created_at")})
    return put.on_conflict_do_update(
        index_elements=[queues.c.name],
        set_={
            "settings": put.excluded.settings,
            "configured": put.excluded.configured,
            "settings_version": queues.c.settings_version + _ONE,
        },
        where=queues.c.deleted == _NO,
    ).returning(*QUEUE_COLUMNS)


def put_counts(insert: Callable[[Any], Any]) -> Any:
    """Write the statement that makes a queue's row of counts unless it is there, by a dialect's own `insert`."""
    return insert(counts).values(queue=bindparam("queue")).on_conflict_do_nothing()


PUT_QUEUE = prepare(put_queue(sqlite.insert))
PUT_COUNTS = prepare(put_counts(sqlite.insert))

MARK_DELETED = prepare(update(queues).where(_named(queues.c.name), queues.c.deleted == _NO).values(deleted=_ONE))
HALF_DELETED = prepare(select(queues.c.name).where(queues.c.deleted == _ONE))


def _ids(state: str) -> Any:
    """Write the statement for ids of a queue's tasks in one stored state: through the index that has them."""
    mine = select(tasks.c.id).where(_named(tasks.c.queue), is_any(tasks.c.state, [state]))
    if state == TaskState.COMPLETED:
        mine = mine.where(tasks.c.finished_at.is_not(None)).with_hint(tasks, "INDEXED BY tasks_finished", "sqlite")
    elif state == CLAIMED:
        # No index has these, but the hand-outs name them.
        ids = Elements(hand_outs.c.ids).table_valued("value", joins_implicitly=True)
        held = select(ids.c.value).select_from(hand_outs).where(_named(hand_outs.c.queue))
        mine = select(tasks.c.id).where(tasks.c.id.in_(held), unindexed(tasks.c.state) == literal(CLAIMED))
        mine = mine.where(_named(unindexed(tasks.c.queue)))
    return mine


IDS_IN_STATE = {state: prepare(most(_ids(state))) for state in COUNTED}
IDS_AFTER = prepare(
    most(
        select(tasks.c.id, tasks.c.state)
        .where(tasks.c.id > bindparam("last_id"), _named(unindexed(tasks.c.queue)))
        .order_by(tasks.c.id),
    ),
)
DELETE_TASKS = prepare(delete(tasks).where(is_given(tasks.c.id)).returning(tasks.c.state))
KEYS_AFTER = prepare(
    most(
        select(key_uses.c.key)
        .where(key_uses.c.key > bindparam("last_key"), _named(key_uses.c.queue))
        .order_by(key_uses.c.key),
    ),
)
DELETE_KEYS = prepare(delete(key_uses).where(is_given(key_uses.c.key), _named(key_uses.c.queue)))
# The queue itself goes last: as long as it is there, whoever comes next knows that there is something left.
FORGET_QUEUE = tuple(
    prepare(delete(table).where(_named(column)))
    for table, column in ((hand_outs, hand_outs.c.queue), (counts, counts.c.queue), (queues, queues.c.name))
)
