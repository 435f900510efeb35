"""What was told of expired contracts: what each was worth, or that nobody knows it yet."""

from alembic import op

revision = "marketdata_0003"
down_revision = "marketdata_0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE settlements (
            instrument text NOT NULL,
            expiry     date NOT NULL,
            price      numeric,
            looked_at  timestamptz NOT NULL,
            PRIMARY KEY (instrument, expiry)
        )
        """
    )
    op.execute("COMMENT ON COLUMN settlements.price IS 'NULL: told as unsettled, and looked for again'")
    op.execute("CREATE INDEX contracts_expiry ON contracts (expiry) WHERE expiry IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX contracts_expiry")
    op.execute("DROP TABLE settlements")
