"""What was moved of one user a moment ago is asked for before his limit fires, by index."""

from alembic import op

revision = "risk_0011"
down_revision = "risk_0010"


def upgrade() -> None:
    op.execute("CREATE INDEX exposures_user_moved ON exposures (user_id, moved_at)")
    op.execute("DROP INDEX exposures_user")
