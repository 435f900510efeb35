"""A look at a broker's book finds our orders by their tags; without an index it read all that ever went to a broker."""

from alembic import op

revision = "trading_0010"
down_revision = "trading_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX broker_orders_tag ON broker_orders (account_id, tag)")
