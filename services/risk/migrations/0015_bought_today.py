"""What was bought of a position on its day: in trade for trade that has to be delivered before it can be sold."""

from alembic import op

revision = "risk_0015"
down_revision = "risk_0014"


def upgrade() -> None:
    op.execute("ALTER TABLE exposures ADD COLUMN bought_quantity bigint NOT NULL DEFAULT 0")
