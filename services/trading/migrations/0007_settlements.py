"""What expired contracts were worth: what is still held of one at the paper venue is settled at it."""

from alembic import op

revision = "trading_0007"
down_revision = "trading_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE settlements (
            instrument    text PRIMARY KEY,
            settlement_id uuid NOT NULL,
            expiry        date NOT NULL,
            price         numeric NOT NULL,
            spot          text NOT NULL,
            spot_price    numeric NOT NULL
        )
        """
    )
