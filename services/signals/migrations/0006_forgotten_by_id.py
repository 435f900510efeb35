"""What is old is forgotten by its id: nobody asks for arrivals by their time alone."""

from alembic import op

revision = "signals_0006"
down_revision = "signals_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX webhook_log_received_at")


def downgrade() -> None:
    op.execute("CREATE INDEX webhook_log_received_at ON webhook_log USING brin (received_at)")
