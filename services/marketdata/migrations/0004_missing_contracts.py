"""Since when a contract has been missing in its broker's dumps: in one alone it stays listed."""

from alembic import op

revision = "marketdata_0004"
down_revision = "marketdata_0003"


def upgrade() -> None:
    op.execute("ALTER TABLE broker_contracts ADD COLUMN missing_since date")


def downgrade() -> None:
    op.execute("ALTER TABLE broker_contracts DROP COLUMN missing_since")
