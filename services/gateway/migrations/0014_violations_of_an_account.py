"""What risk did to one account, to be found without what it did to everybody."""

from alembic import op

revision = "gateway_0014"
down_revision = "gateway_0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX risk_events_account ON risk_events (account_id, at, event_id)")


def downgrade() -> None:
    op.execute("DROP INDEX risk_events_account")
