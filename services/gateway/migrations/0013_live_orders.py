"""What may still trade, to be found without all that ever did."""

from alembic import op

revision = "gateway_0013"
down_revision = "gateway_0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A column of its own: were the status in the indexes, every step of an order would have to write them.
    op.execute(
        """
        ALTER TABLE orders ADD COLUMN live boolean NOT NULL GENERATED ALWAYS AS
            (status NOT IN ('DENIED', 'REJECTED', 'FILLED', 'CANCELLED', 'EXPIRED')) STORED
        """
    )
    op.execute("COMMENT ON COLUMN orders.live IS 'May still trade, or nobody knows whether it did'")
    op.execute("CREATE INDEX orders_live_user ON orders (user_id) WHERE live")
    op.execute("CREATE INDEX orders_live_account ON orders (account_id) WHERE live")


def downgrade() -> None:
    op.execute("ALTER TABLE orders DROP COLUMN live")
