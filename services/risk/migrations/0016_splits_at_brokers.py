"""What a split or bonus made of what an account at a broker carried: trading does not book it, and limits have to know.

Those that were told before have no terms until they are told again, or risk is built anew
(`python -m services.risk rebuild`).
"""

from alembic import op

revision = "risk_0016"
down_revision = "risk_0015"


def upgrade() -> None:
    op.execute("ALTER TABLE corporate_actions ADD COLUMN old integer")
    op.execute("ALTER TABLE corporate_actions ADD COLUMN new integer")
    op.execute("ALTER TABLE corporate_actions ADD COLUMN told_at timestamptz NOT NULL DEFAULT statement_timestamp()")
    op.execute("ALTER TABLE exposures ADD COLUMN unbooked numeric NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE exposures ADD COLUMN carried_unbooked numeric NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE exposures ADD COLUMN unbooked_pnl numeric NOT NULL DEFAULT 0")
