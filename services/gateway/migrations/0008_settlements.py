"""The tradebook shows settlements of expired contracts, which no order made."""

from alembic import op

revision = "gateway_0008"
down_revision = "gateway_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE fills ALTER COLUMN order_id DROP NOT NULL")
