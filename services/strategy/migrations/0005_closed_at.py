"""When the newest signal was received that closes all that an algo held: what is older enters no more."""

from alembic import op

revision = "strategy_0005"
down_revision = "strategy_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE algos ADD COLUMN closed_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE algos DROP COLUMN closed_at")
