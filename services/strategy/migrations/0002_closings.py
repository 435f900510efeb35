"""Which square-off closes a holding: its refusal names the square-off alone."""

from alembic import op

revision = "strategy_0002"
down_revision = "strategy_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE holdings ADD COLUMN closing_id uuid")
    op.execute("CREATE INDEX holdings_closings ON holdings (closing_id) WHERE closing_id IS NOT NULL")
    op.execute("UPDATE holdings SET closing_id = (state::jsonb #>> '{closing,square_off_id}')::uuid")


def downgrade() -> None:
    op.execute("ALTER TABLE holdings DROP COLUMN closing_id")
