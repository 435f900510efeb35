"""The days on which splits and bonuses change what a share is: the old quantity at the new price was a loss of half."""

from alembic import op

revision = "risk_0014"
down_revision = "risk_0013"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE corporate_actions (
            instrument text NOT NULL,
            ex_date    date NOT NULL,
            kind       text NOT NULL,
            PRIMARY KEY (instrument, ex_date, kind)
        )
        """
    )
    op.execute("CREATE INDEX corporate_actions_on ON corporate_actions (ex_date)")
