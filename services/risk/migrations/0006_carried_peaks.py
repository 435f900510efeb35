"""What a trailing stop of an instrument or a strategy needs to keep its peak for as long as a position is carried."""

from alembic import op

revision = "risk_0006"
down_revision = "risk_0005"


def upgrade() -> None:
    op.execute("ALTER TABLE exposures ADD COLUMN realised_before numeric NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX exposures_strategy ON exposures (strategy_id)")
    op.execute("ALTER TABLE watches ADD COLUMN realised_before numeric")
    op.execute("COMMENT ON COLUMN watches.realised_before IS 'NULL: its peak counts on its day only'")
