"""Whether an alert in the log enters or exits, and on which side: what means something else repeats it not."""

from alembic import op

revision = "signals_0004"
down_revision = "signals_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE webhook_log ADD COLUMN signal_type text, ADD COLUMN action text")


def downgrade() -> None:
    op.execute("ALTER TABLE webhook_log DROP COLUMN signal_type, DROP COLUMN action")
