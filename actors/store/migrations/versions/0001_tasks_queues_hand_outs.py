"""Make the tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables for tasks, queues, their counts, hand-outs and idempotency keys."""
    op.create_table(
        "tasks",
        sa.Column("id", TEXT, primary_key=True, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("lane", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("max_retries", sa.BigInteger, nullable=False),
        sa.Column("timeout_ms", sa.BigInteger, nullable=False),
        sa.Column("run_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
        sa.Column("hand_out", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("backoff", TEXT, nullable=False),
        sa.Column("meta", TEXT),
        sa.Column("context", TEXT, nullable=False),
        sa.Column("result", TEXT),
        sa.Column("errors", TEXT),
    )
    _indexes()
    op.create_table(
        "queues",
        sa.Column("name", TEXT, primary_key=True, nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("configured", TEXT, nullable=False),
        sa.Column("paused", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("settings_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("incarnation", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deleted", sa.Integer, nullable=False, server_default="0"),
    )
    states = ("available", "scheduled", "executing", "retryable", "completed", "dead", "cancelled")
    op.create_table(
        "counts",
        sa.Column("queue", TEXT, primary_key=True, nullable=False),
        *(sa.Column(state, sa.BigInteger, nullable=False, server_default="0") for state in states),
        sa.Column("last_rank", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_hand_out", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "hand_outs",
        sa.Column("queue", TEXT, primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("ids", TEXT, nullable=False),
    )
    op.create_table(
        "key_uses",
        sa.Column("key", TEXT, primary_key=True, nullable=False),
        sa.Column("queue", TEXT, primary_key=True, nullable=False),
        sa.Column("fingerprint", TEXT, nullable=False),
        sa.Column("ids", TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("key_uses_created", "key_uses", ["created_at"])
    sequences = op.create_table(
        "sequences",
        sa.Column("name", TEXT, primary_key=True, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(sequences, [{"name": "incarnation", "value": 0}])


def _indexes() -> None:
    _partial_index("tasks_ready", ["queue", "lane", "rank"], "state = 'available'")
    _partial_index("tasks_due", ["queue", "run_at", "id"], "state = 'scheduled' OR state = 'retryable'")
    _partial_index("tasks_finished", ["queue", "state", "finished_at"], "finished_at IS NOT NULL")
    _partial_index(
        "tasks_listed",
        ["state", "queue", "id"],
        "state = 'scheduled' OR state = 'executing' OR state = 'retryable' OR state = 'dead' OR state = 'cancelled'",
    )


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "tasks", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
