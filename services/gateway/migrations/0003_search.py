"""Search by what the words mean: text only for shares and indices, B-trees for contracts."""

from alembic import op

revision = "gateway_0003"
down_revision = "gateway_0002"


def upgrade() -> None:
    op.execute("DROP INDEX instruments_words")
    op.execute(
        """
        CREATE INDEX instruments_cash_words ON instruments USING gin (words) WITH (fastupdate = off)
        WHERE kind IN ('INDEX', 'EQUITY')
        """
    )
    op.execute("DROP INDEX instruments_symbol")
    op.execute("CREATE INDEX instruments_symbol ON instruments (symbol text_pattern_ops)")
    op.execute("CREATE INDEX instruments_strike ON instruments (strike, expiry, underlying, symbol)")


def downgrade() -> None:
    op.execute("DROP INDEX instruments_strike")
    op.execute("DROP INDEX instruments_symbol")
    op.execute("CREATE INDEX instruments_symbol ON instruments (symbol)")
    op.execute("DROP INDEX instruments_cash_words")
    op.execute("CREATE INDEX instruments_words ON instruments USING gin (words) WITH (fastupdate = off)")
