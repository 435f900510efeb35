"""Other services are told who may trade: neither who was shut out nor a viewer. The timer tells of today's viewers."""

from alembic import op

revision = "gateway_0010"
down_revision = "gateway_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users RENAME COLUMN told_active TO told_may_trade")
    op.execute("DROP INDEX users_untold")
    op.execute("CREATE INDEX users_untold ON users (user_id) WHERE (active AND role <> 'viewer') <> told_may_trade")


def downgrade() -> None:
    op.execute("DROP INDEX users_untold")
    op.execute("ALTER TABLE users RENAME COLUMN told_may_trade TO told_active")
    op.execute("CREATE INDEX users_untold ON users (user_id) WHERE active <> told_active")
