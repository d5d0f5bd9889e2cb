"""The tables, as SQLAlchemy Core knows them. `migrations/` makes them; a test keeps both the same.

What is on the path of every task is kept narrow: a commit costs what it makes dirty, and each index entry more is worth
10 to 40 per cent of the throughput. So only rows that wait, or that are rare, or that have ended stand in an index.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Integer, MetaData, Table, Text, literal_column, or_, select

from callboard.actors.task import CLAIMED, TaskState

HEAD = "0002"
"""The newest revision in `migrations/versions`: compared by hand, since importing Alembic takes longer than a start."""

metadata = MetaData()

_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Texts are compared byte by byte: ids have no language, and nothing is quicker."""


def is_any(column: Column[str], states: Sequence[str]) -> ColumnElement[bool]:
    """Write `column = 'a' OR column = 'b'`: from that both databases prove a partial index usable; not from a parameter."""
    return or_(*(column == literal_column(f"'{state}'") for state in states))


# The long columns come last: to read `state` SQLite has to walk over all that stands before it.
tasks = Table(
    "tasks",
    metadata,
    Column("id", _TEXT, primary_key=True, nullable=False),
    Column("queue", _TEXT, nullable=False),
    Column("state", _TEXT, nullable=False),
    Column("lane", BigInteger, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("type", _TEXT, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("max_retries", BigInteger, nullable=False),
    Column("timeout_ms", BigInteger, nullable=False),
    Column("run_at", BigInteger, nullable=False),  # 0: at once
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", _TEXT, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("interruptions", Integer, nullable=False, server_default="0"),
    Column("hand_out", BigInteger, nullable=False, server_default="0"),
    Column("backoff", _TEXT, nullable=False),
    Column("meta", _TEXT),  # NULL: {}
    Column("context", _TEXT, nullable=False),
    Column("result", _TEXT),
    Column("errors", _TEXT),  # NULL: []
    Column("logs", Text),  # NULL: []
    Column("launched", BigInteger),
)

LISTED_STATES = [
    TaskState.SCHEDULED,
    TaskState.EXECUTING,
    TaskState.RETRYABLE,
    TaskState.DEAD,
    TaskState.CANCELLED,
]
"""The states that few tasks are in, or for long: each can be listed by id through an index of its own."""
DUE_STATES = [TaskState.SCHEDULED, TaskState.RETRYABLE]


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Make an index partial in both databases."""
    return {"sqlite_where": condition, "postgresql_where": condition}


Index(
    "tasks_ready",
    tasks.c.queue,
    tasks.c.lane,
    tasks.c.rank,
    **_where(is_any(tasks.c.state, [TaskState.AVAILABLE])),
)
Index("tasks_due", tasks.c.queue, tasks.c.run_at, tasks.c.id, **_where(is_any(tasks.c.state, DUE_STATES)))
Index(
    "tasks_finished",
    tasks.c.queue,
    tasks.c.state,
    tasks.c.finished_at,
    **_where(tasks.c.finished_at.is_not(None)),
)
Index("tasks_listed", tasks.c.state, tasks.c.queue, tasks.c.id, **_where(is_any(tasks.c.state, LISTED_STATES)))

queues = Table(
    "queues",
    metadata,
    Column("name", _TEXT, primary_key=True, nullable=False),
    Column("settings", _TEXT, nullable=False),
    Column("configured", _TEXT, nullable=False),
    Column("paused", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("settings_version", Integer, nullable=False, server_default="1"),
    Column("incarnation", BigInteger, nullable=False, server_default="0"),
    Column("deleted", Integer, nullable=False, server_default="0"),  # 1: its tasks are being deleted
)

# One short row a queue, so that a transaction changes all its numbers by one UPDATE.
counts = Table(
    "counts",
    metadata,
    Column("queue", _TEXT, primary_key=True, nullable=False),
    *(Column(str(state), BigInteger, nullable=False, server_default="0") for state in TaskState),
    Column("last_rank", BigInteger, nullable=False, server_default="0"),
    Column("last_hand_out", BigInteger, nullable=False, server_default="0"),
)

hand_outs = Table(
    "hand_outs",
    metadata,
    Column("queue", _TEXT, primary_key=True, nullable=False),
    Column("number", BigInteger, primary_key=True, nullable=False),
    Column("worker", _TEXT, nullable=False),
    Column("ids", _TEXT, nullable=False),  # JSON list
)

key_uses = Table(
    "key_uses",
    metadata,
    Column("key", _TEXT, primary_key=True, nullable=False),
    Column("queue", _TEXT, primary_key=True, nullable=False),
    Column("fingerprint", _TEXT, nullable=False),
    Column("ids", _TEXT, nullable=False),  # JSON list
    Column("created_at", BigInteger, nullable=False),
)
Index("key_uses_created", key_uses.c.created_at)

# Numbers that never start again, whatever is deleted: `incarnation` is shared by all queues.
sequences = Table(
    "sequences",
    metadata,
    Column("name", _TEXT, primary_key=True, nullable=False),
    Column("value", BigInteger, nullable=False),
)


def is_shown(task: Any = tasks) -> ColumnElement[bool]:
    """Leave out the tasks of deleted queues, which are being removed."""
    gone = select(queues.c.name).where(queues.c.name == task.c.queue, queues.c.deleted == literal_column("1"))
    return ~gone.correlate(task).exists()


COUNTED = {**{str(state): str(state) for state in TaskState}, CLAIMED: str(TaskState.AVAILABLE)}
"""Stored state → the state that it is counted and shown as."""
