"""A user's positions by his own id: a deleted account has no user any more, and what it lost today was his."""

from alembic import op

revision = "risk_0008"
down_revision = "risk_0007"


def upgrade() -> None:
    op.execute("CREATE INDEX exposures_user ON exposures (user_id)")
