"""A square-off leaves what has expired; and quantities that were traded all day may exceed two thousand million."""

from alembic import op

revision = "trading_0005"
down_revision = "trading_0004"
branch_labels = None
depends_on = None

QUANTITIES = ("quantity", "bought_quantity", "sold_quantity")


def upgrade() -> None:
    op.execute("ALTER TABLE square_offs ADD COLUMN expired text NOT NULL DEFAULT '[]'")
    for table in ("positions", "books"):
        op.execute(f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} TYPE bigint' for name in QUANTITIES)}")
