"""Who was shut out, as the gateway said: his webhooks take nothing."""

from alembic import op

revision = "signals_0002"
down_revision = "signals_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE users (user_id uuid PRIMARY KEY, active boolean NOT NULL, version integer NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE users")
