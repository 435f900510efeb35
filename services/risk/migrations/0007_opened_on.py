"""When an open position was opened, and the peak that it brought into a day: the one counts as long as the other."""

from alembic import op

revision = "risk_0007"
down_revision = "risk_0006"


def upgrade() -> None:
    op.execute("ALTER TABLE watches ADD COLUMN carried_peak numeric")
    op.execute("ALTER TABLE exposures ADD COLUMN opened_on date")
    op.execute(
        "UPDATE exposures SET opened_on = CASE WHEN carried_quantity * quantity > 0 THEN pnl_day - 1 ELSE pnl_day END "
        "WHERE quantity <> 0"
    )
