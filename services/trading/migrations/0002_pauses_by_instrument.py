"""A square-off pauses per instrument: one that nobody trades must not hold up the others."""

from alembic import op

revision = "trading_0002"
down_revision = "trading_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE square_offs DROP COLUMN failures, DROP COLUMN retry_at")
    op.execute("ALTER TABLE square_offs ADD COLUMN pauses text NOT NULL DEFAULT '{}'")
