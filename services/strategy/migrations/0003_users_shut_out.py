"""Who was shut out, as the gateway said: his algos enter nothing."""

from alembic import op

revision = "strategy_0003"
down_revision = "strategy_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE users (user_id uuid PRIMARY KEY, active boolean NOT NULL, version integer NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE users")
