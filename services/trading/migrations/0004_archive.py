"""Where orders that ended long ago go with their executions, so that what the order path writes stays small."""

from alembic import op

revision = "trading_0004"
down_revision = "trading_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, key in (("orders", "order_id"), ("executions", "execution_id, venue")):
        op.execute(f"CREATE TABLE archived_{table} (LIKE {table} INCLUDING DEFAULTS)")
        op.execute(f"ALTER TABLE archived_{table} ADD PRIMARY KEY ({key})")
    op.execute("CREATE INDEX archived_executions_order ON archived_executions (order_id)")
