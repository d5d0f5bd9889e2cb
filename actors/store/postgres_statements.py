"""The statements for PostgreSQL: those of `statements` compiled for it, and one a batch for what is many a transaction.

A batch comes as array literals (`columns`), one for each column, and is unnested into rows. In a column of texts that
may be NULL, "" is NULL: what stands there is JSON, which is never empty.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Text,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import CompilerElement
from sqlalchemy.types import TypeEngine

from callboard.actors.store import Completion, Insert, TaskUpdate
from callboard.actors.store import definitions as shared_definitions
from callboard.actors.store import statements as shared
from callboard.actors.store.columns import numbers, texts
from callboard.actors.store.schema import counts, hand_outs, key_uses, queues, tasks
from callboard.actors.task import TaskState


class Prepared(NamedTuple):
    """A statement as psycopg takes it: its text, and the names of its parameters in their order."""

    sql: str
    names: tuple[str, ...]

    def bind(self, **values: Any) -> tuple[Any, ...]:
        """Put named values into the order of the parameters."""
        return tuple(values[name] for name in self.names)


def prepare(statement: CompilerElement) -> Prepared:
    """Compile a statement for PostgreSQL."""
    compiled = statement.compile(dialect=postgresql.dialect(paramstyle="format"))  # type: ignore[no-untyped-call]
    return Prepared(str(compiled), tuple(getattr(compiled, "positiontup", None) or ()))


def _rows(name: str, **columns: type[TypeEngine[Any]]) -> Any:
    """Unnest a batch: one parameter for each column, of the same name."""
    arrays = [cast(bindparam(f"all_{field}"), postgresql.ARRAY(kind)) for field, kind in columns.items()]
    # Each column has its type: `render_derived` gives them their names.
    fields = [column(field, kind) for field, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*fields, name=name).render_derived(name=name)


def _or_null(text: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.nullif(text, literal_column("''"))


_TEXTS = frozenset(
    {"id", "queue", "state", "type", "created_by", "backoff", "meta", "context", "was", "result", "error", "logs"}
)


def _columns(names: Sequence[str]) -> dict[str, type[TypeEngine[Any]]]:
    return {name: Text if name in _TEXTS else BigInteger for name in names}


# --- many a transaction ---

_INSERTED = (
    *("id", "state", "lane", "rank", "type", "priority", "max_retries", "timeout_ms", "run_at"),
    *("created_at", "created_by", "attempt", "started_at", "backoff", "meta", "context"),
)
_new = _rows("new", **_columns(_INSERTED))
INSERT_TASKS = prepare(
    postgresql.insert(tasks).from_select(
        ["queue", *_INSERTED],
        select(
            cast(bindparam("of_queue"), Text),
            *(_or_null(_new.c[name]) if name == "meta" else _new.c[name] for name in _INSERTED),
        ),
    ),
)


def inserted(inserts: Sequence[Insert]) -> dict[str, str]:
    """Turn new tasks into the columns of `INSERT_TASKS`."""
    new, states, lanes, ranks, attempts, started = zip(*inserts, strict=True)
    ids, types, contexts, priorities, retries, backoffs, timeouts, due, created_at, created_by, metas = zip(
        *new, strict=True
    )
    return {
        "all_id": texts(ids),
        "all_state": texts(states),
        "all_lane": numbers(lanes),
        "all_rank": numbers(ranks),
        "all_type": texts(types),
        "all_priority": numbers(priorities),
        "all_max_retries": numbers(retries),
        "all_timeout_ms": numbers(timeouts),
        "all_run_at": numbers(due),
        "all_created_at": numbers(created_at),
        "all_created_by": texts(created_by),
        "all_attempt": numbers(attempts),
        "all_started_at": numbers(started),
        "all_backoff": texts(backoffs),
        "all_meta": texts("" if meta == "{}" else meta for meta in metas),
        "all_context": texts(contexts),
    }


_ended = _rows("ended", **_columns(Completion._fields))
COMPLETE = prepare(
    update(tasks)
    .where(tasks.c.id == _ended.c.id, tasks.c.state == _ended.c.was)
    .values(
        state=shared.literal(TaskState.COMPLETED),
        **{name: _ended.c[name] for name in Completion._fields if name not in {"id", "was"}},
    ),
)

_changed = _rows("changed", **_columns(TaskUpdate._fields))
_error = _or_null(_changed.c.error)
# Texts are joined, not parsed: jsonb refuses what JSON allows (U+0000), and the list is as long as the attempts are many.
_with_error = (
    func.coalesce(
        func.left(tasks.c.errors, literal_column("-1")).concat(literal_column("', '")),
        literal_column("'['"),
    )
    .concat(_error)
    .concat(literal_column("']'"))
)
UPDATE_TASKS = prepare(
    update(tasks)
    .where(tasks.c.id == _changed.c.id, tasks.c.state == _changed.c.was)
    .values(
        errors=func.coalesce(_with_error, tasks.c.errors),
        run_at=func.coalesce(_changed.c.run_at, tasks.c.run_at),
        result=_or_null(_changed.c.result),
        logs=_or_null(_changed.c.logs),
        **{
            name: _changed.c[name]
            for name in TaskUpdate._fields
            if name not in {"id", "was", "error", "run_at", "result", "logs"}
        },
    ),
)


def changed(changes: Sequence[tuple[Any, ...]], fields: Sequence[str]) -> dict[str, str]:
    """Turn completions or updates into the columns of their statement."""
    return {
        f"all_{name}": texts(text or "" for text in values) if name in _TEXTS else numbers(values)
        for name, values in zip(fields, zip(*changes, strict=True), strict=True)
    }


# Errors are kept here as they were written, and in SQLite as it writes them.
ACQUIT, CONVICT = (prepare(shared.ruling(guilty=guilty, gap=" ")) for guilty in (False, True))

_due = _rows("due", id=Text, lane=BigInteger, rank=BigInteger)
MAKE_AVAILABLE = prepare(
    update(tasks)
    .where(tasks.c.id == _due.c.id)
    .values(state=shared.literal(TaskState.AVAILABLE), lane=_due.c.lane, rank=_due.c.rank),
)

_batches = _rows("batches", number=BigInteger, worker=Text, ids=Text)
_put_hand_outs = postgresql.insert(hand_outs).from_select(
    ["queue", "number", "worker", "ids"],
    select(cast(bindparam("of_queue"), Text), _batches.c.number, _batches.c.worker, _batches.c.ids),
)
PUT_HAND_OUTS = prepare(
    _put_hand_outs.on_conflict_do_update(
        index_elements=[hand_outs.c.queue, hand_outs.c.number],
        set_={"worker": _put_hand_outs.excluded.worker, "ids": _put_hand_outs.excluded.ids},
    ),
)
END_HAND_OUTS = prepare(
    delete(hand_outs).where(
        hand_outs.c.queue == bindparam("of_queue"),
        hand_outs.c.number == any_(cast(bindparam("all_number"), postgresql.ARRAY(BigInteger))),
    ),
)

_uses = _rows("uses", key=Text, fingerprint=Text, ids=Text)
_put_keys = postgresql.insert(key_uses).from_select(
    ["key", "queue", "fingerprint", "ids", "created_at"],
    select(
        _uses.c.key,
        cast(bindparam("of_queue"), Text),
        _uses.c.fingerprint,
        _uses.c.ids,
        cast(bindparam("now"), BigInteger),
    ),
)
PUT_KEYS = prepare(
    _put_keys.on_conflict_do_update(
        index_elements=[key_uses.c.key, key_uses.c.queue],
        set_={name: _put_keys.excluded[name] for name in ("fingerprint", "ids", "created_at")},
    ),
)

# --- once a transaction ---

# With a number of its own each transaction can be asked for later, should the connection end while it is committed.
BEGIN = prepare(shared.INCARNATION.statement.add_columns(literal_column("pg_current_xact_id()::text")))
FATE = "SELECT pg_xact_status(%s::xid8)"
ADD_COUNTS = prepare(shared.ADD_COUNTS.statement)
OLD_KEYS_GO = prepare(shared.OLD_KEYS_GO.statement)

# --- asked in a transaction ---

EXISTING = prepare(shared.EXISTING.statement)
# Whoever uses a key waits for the others that use it: between looking and storing there would be a gap else.
LOCK_KEYS = (
    "SELECT pg_advisory_xact_lock(hashtextextended('callboard key ' || current_schema() || ' ' || key, 0)) "
    "FROM (SELECT DISTINCT unnest(%s::text[]) AS key ORDER BY 1) AS keys"
)
KEY_USES = prepare(shared.KEY_USES.statement)
SET_PAUSED = prepare(shared.SET_PAUSED.statement)
SETTINGS = prepare(shared.SETTINGS.statement)
SET_SETTINGS = prepare(shared.SET_SETTINGS.statement)
DUE = prepare(shared.DUE.statement)
# A move ends before the other queue can be deleted, or finds that it is; what it leaves behind would belong to nobody.
LOCK_QUEUE = prepare(
    select(queues.c.name)
    .where(queues.c.name == bindparam("to"), queues.c.deleted == literal_column("0"))
    .with_for_update(read=True),
)
# Two owners that move tasks to each other's queue take both locks in the same order.
LOCK_COUNTS = prepare(
    select(counts.c.queue)
    .where(counts.c.queue.in_((bindparam("of_queue"), bindparam("to"))))
    .order_by(counts.c.queue)
    .with_for_update(),
)
COUNT_MOVED = prepare(shared.COUNT_MOVED.statement)
MOVE = prepare(shared.MOVE.statement)
PURGE = prepare(shared.PURGE.statement)
DELETE_ENDED = prepare(shared.DELETE_ENDED.statement)

# --- asked between transactions ---

# Those that share the last key come too: the next read begins after it.
READY = prepare(shared.READY.statement.fetch(bindparam("most"), with_ties=True))
NEXT_DUE = prepare(shared.NEXT_DUE.statement)
FIRST_OF_NEXT_LANE = prepare(shared.FIRST_OF_NEXT_LANE.statement.limit(literal_column("1")))
LOAD = prepare(shared.LOAD.statement)
HAND_OUTS = prepare(shared.HAND_OUTS.statement)
COUNTS = prepare(shared.COUNTS.statement)

# --- definitions ---

NEXT_INCARNATION = prepare(shared_definitions.NEXT_INCARNATION.statement)
BECOME_OWNER = prepare(shared_definitions.BECOME_OWNER.statement)
PUT_QUEUE = prepare(shared_definitions.put_queue(postgresql.insert))
PUT_COUNTS = prepare(shared_definitions.put_counts(postgresql.insert))
MARK_DELETED = prepare(shared_definitions.MARK_DELETED.statement)
HALF_DELETED = prepare(shared_definitions.HALF_DELETED.statement)
IDS_IN_STATE = {state: prepare(ids.statement) for state, ids in shared_definitions.IDS_IN_STATE.items()}
IDS_AFTER = prepare(shared_definitions.IDS_AFTER.statement)
DELETE_TASKS = prepare(shared_definitions.DELETE_TASKS.statement)
KEYS_AFTER = prepare(shared_definitions.KEYS_AFTER.statement)
DELETE_KEYS = prepare(shared_definitions.DELETE_KEYS.statement)
FORGET_QUEUE = tuple(prepare(forget.statement) for forget in shared_definitions.FORGET_QUEUE)
