"""What a position was when the day of its newest profit began: a daily loss counts from there."""

from alembic import op

revision = "risk_0004"
down_revision = "risk_0003"


def upgrade() -> None:
    op.execute("ALTER TABLE exposures ADD COLUMN carried_quantity bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE exposures ADD COLUMN carried_average numeric NOT NULL DEFAULT 0")
