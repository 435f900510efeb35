"""Which story asked for the change that is under way, so that another story's refusal does not end it."""

from alembic import op

revision = "risk_0002"
down_revision = "risk_0001"


def upgrade() -> None:
    op.execute("ALTER TABLE reservations ADD COLUMN proposed_by uuid")
