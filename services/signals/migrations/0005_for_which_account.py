"""For which account an alert in the log is, if for one: what carries its id and is for another repeats it not."""

from alembic import op

revision = "signals_0005"
down_revision = "signals_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE webhook_log ADD COLUMN account_id uuid")


def downgrade() -> None:
    op.execute("ALTER TABLE webhook_log DROP COLUMN account_id")
