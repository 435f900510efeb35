"""Other services are told who was shut out; those who were before this update are told of by the timer."""

from alembic import op

revision = "gateway_0007"
down_revision = "gateway_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN told_active boolean NOT NULL DEFAULT true")
    op.execute("ALTER TABLE users ADD COLUMN access_version integer NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX users_untold ON users (user_id) WHERE active <> told_active")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN told_active, DROP COLUMN access_version")
