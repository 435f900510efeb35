"""Of users the gateway tells whether they may trade: no viewer may, nor who was shut out."""

from alembic import op

revision = "signals_0003"
down_revision = "signals_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users RENAME COLUMN active TO may_trade")


def downgrade() -> None:
    op.execute("ALTER TABLE users RENAME COLUMN may_trade TO active")
