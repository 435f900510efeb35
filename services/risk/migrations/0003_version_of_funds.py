"""Which of an account's funds are kept: what trading told before is passed over."""

from alembic import op

revision = "risk_0003"
down_revision = "risk_0002"


def upgrade() -> None:
    op.execute("ALTER TABLE accounts ADD COLUMN funds_version bigint NOT NULL DEFAULT 0")
