"""What is known of each account's positions at its broker; a row for whoever has credentials there."""

from alembic import op

revision = "trading_0008"
down_revision = "trading_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE broker_comparisons (
            account_id  uuid PRIMARY KEY,
            due_at      timestamptz NOT NULL,
            claim       uuid,
            suspected   text NOT NULL DEFAULT '[]',
            told        text NOT NULL DEFAULT '[]',
            version     integer NOT NULL DEFAULT 0,
            failures    integer NOT NULL DEFAULT 0,
            problem     text NOT NULL DEFAULT '',
            requests    uuid[] NOT NULL DEFAULT '{}',
            looks       integer NOT NULL DEFAULT 0,
            compared_at timestamptz
        )
        """
    )
    op.execute(
        "INSERT INTO broker_comparisons (account_id, due_at) SELECT account_id, updated_at FROM broker_credentials"
    )
