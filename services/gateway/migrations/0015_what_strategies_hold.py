"""What strategies hold, and who ever traded, to be found without all that was."""

from alembic import op

revision = "gateway_0015"
down_revision = "gateway_0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A column of its own: were its terms in the indexes, every fill would have to write them.
    op.execute(
        """
        ALTER TABLE strategy_positions ADD COLUMN live boolean NOT NULL
            GENERATED ALWAYS AS (quantity <> 0 OR realised_pnl <> 0) STORED
        """
    )
    op.execute("COMMENT ON COLUMN strategy_positions.live IS 'Open, or with a profit of the present trading day'")
    op.execute("CREATE INDEX strategy_positions_live_user ON strategy_positions (user_id) WHERE live")
    op.execute("CREATE INDEX strategy_positions_live_account ON strategy_positions (account_id) WHERE live")
    op.execute("CREATE INDEX strategy_positions_strategy ON strategy_positions (user_id, strategy_id, account_id)")
    op.execute("DROP INDEX strategy_positions_user")
    op.execute("CREATE INDEX positions_account ON positions (user_id, account_id)")
    op.execute("DROP INDEX positions_user")


def downgrade() -> None:
    op.execute("CREATE INDEX positions_user ON positions (user_id)")
    op.execute("DROP INDEX positions_account")
    op.execute("CREATE INDEX strategy_positions_user ON strategy_positions (user_id)")
    op.execute("DROP INDEX strategy_positions_strategy")
    op.execute("ALTER TABLE strategy_positions DROP COLUMN live")
