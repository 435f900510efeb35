"""What lists of positions show, to be found without what was traded on earlier days."""

from alembic import op

revision = "gateway_0011"
down_revision = "gateway_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A column of its own: were its terms in the indexes, every fill would have to write them.
    op.execute(
        """
        ALTER TABLE positions ADD COLUMN live boolean NOT NULL
            GENERATED ALWAYS AS (quantity <> 0 OR bought_quantity <> 0 OR sold_quantity <> 0) STORED
        """
    )
    op.execute("COMMENT ON COLUMN positions.live IS 'Open, or traded on the present trading day'")
    op.execute("CREATE INDEX positions_live_user ON positions (user_id) WHERE live")
    op.execute("CREATE INDEX positions_live_account ON positions (account_id) WHERE live")


def downgrade() -> None:
    op.execute("ALTER TABLE positions DROP COLUMN live")
