"""What an algo that trades the stocks that alerts name holds, and was told to close, of each of them."""

from alembic import op

revision = "strategy_0006"
down_revision = "strategy_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE holdings ADD COLUMN stock text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE holdings DROP CONSTRAINT holdings_pkey, ADD PRIMARY KEY (algo_id, account_id, stock)")
    op.execute("ALTER TABLE algos ADD COLUMN closed_stocks text NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    op.execute("ALTER TABLE algos DROP COLUMN closed_stocks")
    op.execute("DELETE FROM holdings WHERE stock <> ''")
    op.execute("ALTER TABLE holdings DROP CONSTRAINT holdings_pkey, ADD PRIMARY KEY (algo_id, account_id)")
    op.execute("ALTER TABLE holdings DROP COLUMN stock")
