"""The MTM at which a limit was hit: an order that is denied for the day's loss says it."""

from alembic import op

revision = "risk_0010"
down_revision = "risk_0009"


def upgrade() -> None:
    op.execute("ALTER TABLE watches ADD COLUMN breached_mtm numeric")
    op.execute("COMMENT ON COLUMN watches.breached_mtm IS 'rupees; NULL: never breached, or before this was kept'")
