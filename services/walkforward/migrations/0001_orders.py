"""The venue's book."""

from alembic import op

revision = "walkforward_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE orders (
            order_id      uuid PRIMARY KEY,
            account_id    uuid NOT NULL,
            instrument    text NOT NULL,
            side          text NOT NULL,
            quantity      integer NOT NULL,
            order_type    text NOT NULL,
            validity      text NOT NULL,
            price         numeric,
            trigger_price numeric,
            status        text NOT NULL,
            priority_at   timestamptz NOT NULL,
            active_from   timestamptz NOT NULL,
            expires_at    timestamptz NOT NULL,
            filled        integer NOT NULL CHECK (filled BETWEEN 0 AND quantity),
            triggered     boolean NOT NULL,
            seen          timestamptz,
            executions    integer NOT NULL,
            changed_at    timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 80)
        """
    )
    op.execute(
        "CREATE INDEX orders_open ON orders (expires_at) WHERE status IN ('ACCEPTED', 'PARTIALLY_FILLED')",
    )
    op.execute("CREATE INDEX orders_changed ON orders USING brin (changed_at)")
