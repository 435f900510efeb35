"""Cancels that came before their orders."""

from alembic import op

revision = "walkforward_0002"
down_revision = "walkforward_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE early_cancels (
            order_id   uuid NOT NULL,
            account_id uuid NOT NULL,
            came_at    timestamptz NOT NULL,
            PRIMARY KEY (order_id, account_id)
        )
        """
    )
