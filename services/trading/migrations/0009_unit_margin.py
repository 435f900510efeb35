"""What each unit blocks that an order opens, also of those that only reduced a position when they were cleared.

0 of the orders of before: what they had set aside is shared by what is left of them, as it was.
"""

from alembic import op

revision = "trading_0009"
down_revision = "trading_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("orders", "archived_orders"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN unit_margin numeric NOT NULL DEFAULT 0")
