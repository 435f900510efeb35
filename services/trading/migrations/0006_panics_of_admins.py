"""What an admin stopped only an admin begins again."""

from alembic import op

revision = "trading_0006"
down_revision = "trading_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE panic_epochs ADD COLUMN by_admin boolean NOT NULL DEFAULT false")
