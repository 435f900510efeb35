"""Splits and bonuses, and on which positions each is booked: carried shares were valued at half, and sold for it."""

from alembic import op

revision = "trading_0011"
down_revision = "trading_0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE corporate_actions (
            instrument text NOT NULL,
            ex_date    date NOT NULL,
            kind       text NOT NULL,
            old        integer NOT NULL,
            new        integer NOT NULL,
            begins     uuid NOT NULL,
            PRIMARY KEY (instrument, ex_date, kind)
        )
        """
    )
    op.execute(
        "COMMENT ON COLUMN corporate_actions.begins IS 'Orders with a smaller id are of a day before its ex-date'"
    )
    op.execute(
        """
        CREATE TABLE booked_actions (
            account_id uuid NOT NULL,
            instrument text NOT NULL,
            product    text NOT NULL,
            ex_date    date NOT NULL,
            kind       text NOT NULL,
            PRIMARY KEY (account_id, instrument, product, ex_date, kind)
        )
        """
    )
