"""What happens to one order does not hide how a request for many was ended."""

from alembic import op

revision = "gateway_0005"
down_revision = "gateway_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE outcomes ADD COLUMN of_one_order boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    op.execute("ALTER TABLE outcomes DROP COLUMN of_one_order")
