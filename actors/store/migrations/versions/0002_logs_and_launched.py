"""Keep what an attempt has logged, and which process a task has launched."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the two columns; both are NULL for nearly all tasks."""
    op.add_column("tasks", sa.Column("logs", sa.Text))
    op.add_column("tasks", sa.Column("launched", sa.BigInteger))
