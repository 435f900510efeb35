"""NSE's series of a share, which its brokers' symbols and the products that it may be traded in depend on."""

from alembic import op

revision = "marketdata_0005"
down_revision = "marketdata_0004"

_TABLES = ("contracts", "broker_contracts", "pending_listings")


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN series text")
    # The dumps tell it: they are wanted at once, not the next morning.
    op.execute("UPDATE master_downloads SET scheduled_on = NULL")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN series")
