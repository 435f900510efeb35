"""Where an account's positions and its broker's differ, as trading told it last."""

from alembic import op

revision = "gateway_0009"
down_revision = "gateway_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE broker_positions (
            account_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            body jsonb NOT NULL,
            version integer NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE broker_positions")
