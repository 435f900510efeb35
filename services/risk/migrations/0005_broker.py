"""Where an account is: MIS that is carried at the paper venue is squared off before its market closes.

Accounts from before have none until they are saved again, or risk is built anew (`python -m services.risk rebuild`).
"""

from alembic import op

revision = "risk_0005"
down_revision = "risk_0004"


def upgrade() -> None:
    op.execute("ALTER TABLE accounts ADD COLUMN broker text")
