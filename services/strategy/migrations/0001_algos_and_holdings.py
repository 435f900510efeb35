"""Algos, what each holds in each account, and whose the accounts are."""

from alembic import op

revision = "strategy_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE algos (
            algo_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            version integer NOT NULL,
            group_ids uuid[] NOT NULL,
            definition text NOT NULL
        )
    """)
    op.execute("CREATE INDEX algos_groups ON algos USING gin (group_ids)")
    op.execute("""
        CREATE TABLE holdings (
            algo_id uuid NOT NULL REFERENCES algos ON DELETE CASCADE,
            account_id uuid NOT NULL,
            reversal_deadline timestamptz,
            state text NOT NULL,
            PRIMARY KEY (algo_id, account_id)
        ) WITH (fillfactor = 50)
    """)
    op.execute("CREATE INDEX holdings_reversals ON holdings (reversal_deadline) WHERE reversal_deadline IS NOT NULL")

    op.execute("""
        CREATE TABLE accounts (
            account_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            name text NOT NULL,
            active boolean NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE accounts")
    op.execute("DROP TABLE holdings")
    op.execute("DROP TABLE algos")
