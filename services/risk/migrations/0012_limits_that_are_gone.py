"""Limits that were deleted stay for some days, however many: neither orders nor the look of each second reads them."""

from alembic import op

revision = "risk_0012"
down_revision = "risk_0011"


def upgrade() -> None:
    op.execute("DROP INDEX limits_user")
    op.execute("CREATE INDEX limits_user ON limits (user_id) WHERE active")
    op.execute("CREATE INDEX limits_changed ON limits (changed_at)")
