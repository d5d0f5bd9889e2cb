"""Make the tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables for tasks, queues, their counts, hand-outs and idempotency keys."""
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lane", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("max_retries", sa.BigInteger, nullable=False),
        sa.Column("timeout_ms", sa.BigInteger, nullable=False),
        sa.Column("run_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("interruptions", sa.Integer, nullable=False, server_default="0"),
        sa.Column("hand_out", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("backoff", sa.Text, nullable=False),
        sa.Column("meta", sa.Text),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("errors", sa.Text),
    )
    _indexes()
    op.create_table(
        "queues",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("configured", sa.Text, nullable=False),
        sa.Column("paused", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("settings_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("incarnation", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deleted", sa.Integer, nullable=False, server_default="0"),
    )
    states = ("available", "scheduled", "executing", "retryable", "completed", "dead", "cancelled")
    op.create_table(
        "counts",
        sa.Column("queue", sa.Text, primary_key=True, nullable=False),
        *(sa.Column(state, sa.BigInteger, nullable=False, server_default="0") for state in states),
        sa.Column("last_rank", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_hand_out", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "hand_outs",
        sa.Column("queue", sa.Text, primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger, primary_key=True, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("ids", sa.Text, nullable=False),
    )
    op.create_table(
        "key_uses",
        sa.Column("key", sa.Text, primary_key=True, nullable=False),
        sa.Column("queue", sa.Text, primary_key=True, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("ids", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("key_uses_created", "key_uses", ["created_at"])
    sequences = op.create_table(
        "sequences",
        sa.Column("name", sa.Text, primary_key=True, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(sequences, [{"name": "incarnation", "value": 0}])


def _indexes() -> None:
    op.create_index(
        "tasks_ready",
        "tasks",
        ["queue", "lane", "rank"],
        sqlite_where=sa.text("state = 'available'"),
    )
    op.create_index(
        "tasks_due",
        "tasks",
        ["queue", "run_at", "id"],
        sqlite_where=sa.text("state = 'scheduled' OR state = 'retryable'"),
    )
    op.create_index(
        "tasks_finished",
        "tasks",
        ["queue", "state", "finished_at"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "tasks_listed",
        "tasks",
        ["state", "queue", "id"],
        sqlite_where=sa.text(
            "state = 'scheduled' OR state = 'executing' OR state = 'retryable' OR state = 'dead' OR state = 'cancelled'",
        ),
    )
