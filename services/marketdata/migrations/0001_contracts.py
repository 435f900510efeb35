"""The contract master as it was last published."""

from alembic import op

revision = "marketdata_0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE contracts (
            instrument text PRIMARY KEY,
            tradable boolean NOT NULL,
            listing text NOT NULL,
            published_at timestamptz NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE contracts")
