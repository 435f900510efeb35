"""What an alert in the log names: what carries its id and names other stocks repeats it not."""

from alembic import op

revision = "signals_0007"
down_revision = "signals_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE webhook_log ADD COLUMN about bytea")


def downgrade() -> None:
    op.execute("ALTER TABLE webhook_log DROP COLUMN about")
