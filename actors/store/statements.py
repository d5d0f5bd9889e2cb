"""The statements of a queue's owner: written in SQLAlchemy Core, compiled once, run by the driver itself.

Per-row work of SQLAlchemy's would cost more than SQLite's own: rows go to `executemany` as plain tuples.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import CompilerElement

from callboard.actors.store import Insert, ReadyTask, TaskUpdate
from callboard.actors.store.dialects import IsGiven, Larger
from callboard.actors.store.schema import DUE_STATES, counts, hand_outs, is_any, is_shown, key_uses, queues, tasks
from callboard.actors.task import ENDED_STATES, TaskState

FIRST_KEY = (-(2**63), -(2**63))
"""Sorts before every (lane, rank)."""
COUNTERS = (*map(str, TaskState), "last_rank", "last_hand_out")
"""The parameters of `ADD_COUNTS`, in order, before the queue's name."""


class Prepared(NamedTuple):
    """A statement as SQLite's driver takes it: its text, and the names of its parameters in their order."""

    sql: str
    names: tuple[str, ...]
    statement: Any = None
    """What it was made of: `postgres_statements` makes its own of that, where nothing else fits PostgreSQL better."""

    def bind(self, **values: Any) -> tuple[Any, ...]:
        """Put named values into the order of the parameters."""
        return tuple(values[name] for name in self.names)

    def rows(self, changes: Iterable[tuple[Any, ...]], fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Put the fields of each change into the order of the parameters, without a loop in Python."""
        return map(itemgetter(*(fields.index(name) for name in self.names)), changes)


def prepare(statement: CompilerElement) -> Prepared:
    """Compile a statement for SQLite."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return Prepared(str(compiled), tuple(getattr(compiled, "positiontup", None) or ()), statement)


def literal(value: str) -> Any:
    """Write a constant of ours into the text: the planner compares it with the indexes' conditions."""
    return literal_column(f"'{value}'")


def most(statement: Any) -> Any:
    """Limit by the parameter `most`."""
    # Without an offset of ours SQLAlchemy adds a parameter for one.
    return statement.limit(bindparam("most")).offset(literal_column("0"))


def is_given(column: Any) -> Any:
    """Compare with the texts in the parameter `ids`."""
    return IsGiven(column, bindparam("ids"))


def _mine(table: Any = tasks) -> Any:
    return table.c.queue == bindparam("of_queue")


_ready = is_any(tasks.c.state, [TaskState.AVAILABLE])
_waits = is_any(tasks.c.state, DUE_STATES)
_ready_columns = [tasks.c[name] for name in ReadyTask._fields]

# --- one row each, many a transaction ---

INSERT_TASK = prepare(
    insert(tasks).values(
        {
            name: bindparam(name)
            for name in (
                *("id", "queue", "state", "lane", "rank", "type", "priority", "max_retries", "timeout_ms", "run_at"),
                *("created_at", "created_by", "attempt", "started_at", "backoff", "meta", "context"),
            )
        },
    ),
)


def insert_rows(inserts: Sequence[Insert], queue: str) -> list[tuple[Any, ...]]:
    """Flatten new tasks into the order of `INSERT_TASK`."""
    # One line each: put below each other these names are forty lines that say no more.
    return [
        (task_id, queue, state, lane, rank, task_type, priority, max_retries, timeout_ms, run_at,
         created_at, created_by, attempt, started_at, backoff, None if meta == "{}" else meta, context)
        for (
            (task_id, task_type, context, priority, max_retries, backoff, timeout_ms, run_at, created_at, created_by, meta),
            state, lane, rank, attempt, started_at,
        ) in inserts
    ]  # fmt: skip


COMPLETE = prepare(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), tasks.c.state == bindparam("was"))
    .values(
        state=literal(TaskState.COMPLETED),
        **{name: bindparam(name) for name in ("attempt", "started_at", "finished_at", "result", "hand_out")},
    ),
)

_error: ColumnElement[Any] = bindparam("error")
UPDATE_TASK = prepare(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), tasks.c.state == bindparam("was"))
    .values(
        errors=case(
            (_error.is_(None), tasks.c.errors),
            else_=func.json_insert(func.coalesce(tasks.c.errors, literal("[]")), literal("$[#]"), func.json(_error)),
        ),
        run_at=func.coalesce(bindparam("run_at"), tasks.c.run_at),
        **{name: bindparam(name) for name in TaskUpdate._fields if name not in {"id", "was", "error", "run_at"}},
    ),
)


def ruling(*, guilty: bool, gap: str = "") -> Any:
    """Change what a suspect's row says. gap: what stands between a field's colon, or comma, and what follows it."""
    # As text: within a string of JSON no quotation mark stands without a backslash, so only a field can look like this.
    was = f'"charged":{gap}true,{gap}"suspect":{gap}true'
    charged = "true" if guilty else "false"
    cleared = {} if guilty else {"failures": tasks.c.failures - literal_column("1"), "interruptions": literal_column("0")}
    new = f'"charged":{gap}{charged},{gap}"suspect":{gap}false'
    return (
        update(tasks)
        .where(tasks.c.id == bindparam("id"))
        .values(errors=func.replace(tasks.c.errors, literal(was), literal(new)), **cleared)
    )


ACQUIT, CONVICT = prepare(ruling(guilty=False)), prepare(ruling(guilty=True))

_hand_out = sqlite.insert(hand_outs).values({column.name: bindparam(column.name) for column in hand_outs.c})
PUT_HAND_OUT = prepare(
    _hand_out.on_conflict_do_update(
        index_elements=[hand_outs.c.queue, hand_outs.c.number],
        set_={"worker": _hand_out.excluded.worker, "ids": _hand_out.excluded.ids},
    ),
)
END_HAND_OUT = prepare(delete(hand_outs).where(_mine(hand_outs), hand_outs.c.number == bindparam("number")))

_key_use = sqlite.insert(key_uses).values({column.name: bindparam(column.name) for column in key_uses.c})
PUT_KEY = prepare(
    _key_use.on_conflict_do_update(
        index_elements=[key_uses.c.key, key_uses.c.queue],
        set_={name: _key_use.excluded[name] for name in ("fingerprint", "ids", "created_at")},
    ),
)

# --- once a transaction ---

INCARNATION = prepare(
    select(queues.c.incarnation).where(queues.c.name == bindparam("of_queue"), queues.c.deleted == literal_column("0"))
)
ADD_COUNTS = prepare(
    update(counts)
    .where(_mine(counts))
    .values(
        {
            **{str(state): counts.c[str(state)] + bindparam(f"more_{state}") for state in TaskState},
            **{name: Larger(counts.c[name], bindparam(f"new_{name}")) for name in ("last_rank", "last_hand_out")},
        },
    ),
)
OLD_KEYS_GO = prepare(
    delete(key_uses).where(
        tuple_(key_uses.c.key, key_uses.c.queue).in_(
            most(
                select(key_uses.c.key, key_uses.c.queue)
                .where(key_uses.c.created_at < bindparam("before"))
                .order_by(key_uses.c.created_at)
                # Any queue's owner may forget any key: in PostgreSQL two of them at once must not wait for each other.
                .with_for_update(skip_locked=True),
            ),
        ),
    ),
)

# --- asked in a transaction ---

EXISTING = prepare(select(tasks.c.id).where(is_given(tasks.c.id)))
KEY_USES = prepare(
    select(key_uses.c.key, key_uses.c.fingerprint, key_uses.c.ids, key_uses.c.queue)
    .where(is_given(key_uses.c.key), key_uses.c.created_at > bindparam("after"), is_shown(key_uses))
    .order_by(key_uses.c.key, key_uses.c.queue),
)
SET_PAUSED = prepare(update(queues).where(queues.c.name == bindparam("of_queue")).values(paused=bindparam("is_paused")))
# Where others may write at the same time, the row is locked. SQLite's transactions are one after the other as it is.
SETTINGS = prepare(
    select(queues.c.settings, queues.c.settings_version).where(queues.c.name == bindparam("of_queue")).with_for_update(),
)
SET_SETTINGS = prepare(
    update(queues)
    .where(queues.c.name == bindparam("of_queue"))
    .values(settings=bindparam("new_settings"), settings_version=queues.c.settings_version + literal_column("1"))
    .returning(queues.c.settings_version),
)
DUE = prepare(
    most(
        select(*_ready_columns)
        .where(_mine(), _waits, tasks.c.run_at <= bindparam("now"))
        .order_by(tasks.c.run_at, tasks.c.id),
    ),
)
MAKE_AVAILABLE = prepare(
    update(tasks)
    .where(tasks.c.id == bindparam("id"))
    .values(state=literal(TaskState.AVAILABLE), lane=bindparam("lane"), rank=bindparam("rank")),
)
MOVE = prepare(
    update(tasks)
    .where(tasks.c.id == bindparam("id"), _mine(), tasks.c.state == bindparam("was"))
    .values(
        queue=bindparam("to"),
        run_at=func.coalesce(bindparam("new_run_at"), tasks.c.run_at),
        # Another queue's hand-outs have numbers of their own, and its places too: it gets one when it is due. Where it
        # stands, and how often it was interrupted, was due to this queue's workers.
        **dict.fromkeys(("hand_out", "lane", "rank", "interruptions"), literal_column("0")),
        **{name: bindparam(f"new_{name}") for name in ("state", "priority")},
    ),
)
COUNT_MOVED = prepare(
    update(counts)
    .where(
        counts.c.queue == bindparam("to"),
        select(queues.c.name).where(queues.c.name == bindparam("to"), queues.c.deleted == literal_column("0")).exists(),
    )
    .values({str(state): counts.c[str(state)] + bindparam(f"more_{state}") for state in DUE_STATES}),
)
_purged = tasks.alias("purged")
PURGE = prepare(
    delete(tasks).where(
        tasks.c.id.in_(
            most(
                select(_purged.c.id)
                .where(
                    _purged.c.queue == bindparam("of_queue"),
                    _purged.c.state == bindparam("ended_state"),
                    _purged.c.finished_at < bindparam("before"),
                )
                .order_by(_purged.c.finished_at),
            ),
        ),
    ),
)
DELETE_ENDED = prepare(
    delete(tasks).where(is_given(tasks.c.id), _mine(), is_any(tasks.c.state, sorted(ENDED_STATES))).returning(tasks.c.state),
)

# --- asked between transactions ---

READY = prepare(
    select(*_ready_columns)
    .where(_mine(), _ready, tuple_(tasks.c.lane, tasks.c.rank) > tuple_(bindparam("lane"), bindparam("rank")))
    .order_by(tasks.c.lane, tasks.c.rank),
)
NEXT_DUE = prepare(select(func.min(tasks.c.run_at)).where(_mine(), _waits))
FIRST_OF_NEXT_LANE = prepare(
    select(tasks.c.lane, tasks.c.rank, tasks.c.created_at)
    .where(_mine(), _ready, tasks.c.lane > bindparam("lane"))
    .order_by(tasks.c.lane, tasks.c.rank),
)
LOAD = prepare(select(*_ready_columns).where(is_given(tasks.c.id), _mine()))
HAND_OUTS = prepare(
    select(hand_outs.c.number, hand_outs.c.worker, hand_outs.c.ids).where(_mine(hand_outs)).order_by(hand_outs.c.number),
)
COUNTS = prepare(select(*(counts.c[name] for name in COUNTERS)).where(_mine(counts)))
