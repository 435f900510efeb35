"""What is asked for every second, by index: a position that is closed stays in the table for ever."""

from alembic import op

revision = "risk_0009"
down_revision = "risk_0008"


def upgrade() -> None:
    op.execute("CREATE INDEX exposures_moved ON exposures (moved_at)")
    op.execute("CREATE INDEX exposures_open ON exposures (instrument) WHERE quantity <> 0")
