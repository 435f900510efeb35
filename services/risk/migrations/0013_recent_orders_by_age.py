"""What orders said a week ago is forgotten by index: each minute all that they said in that week was read."""

from alembic import op

revision = "risk_0013"
down_revision = "risk_0012"


def upgrade() -> None:
    op.execute("CREATE INDEX recent_orders_cleared ON recent_orders (cleared_at)")
