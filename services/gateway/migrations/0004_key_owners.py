"""Which process carries out the request of an idempotency key."""

from alembic import op

revision = "gateway_0004"
down_revision = "gateway_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE idempotency_keys ADD COLUMN owner bigint")


def downgrade() -> None:
    op.execute("ALTER TABLE idempotency_keys DROP COLUMN owner")
