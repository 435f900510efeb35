"""Accounts with their bound margin, exposures, decided orders; halts, limits and their watches."""

from alembic import op

revision = "risk_0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE accounts (
        account_id uuid PRIMARY KEY,
        user_id uuid,
        active boolean NOT NULL,
        opening_balance numeric NOT NULL,
        realised_pnl numeric NOT NULL,
        order_margin numeric NOT NULL,
        position_margin numeric NOT NULL,
        open_positions integer NOT NULL
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX accounts_user ON accounts (user_id)",
    # strategy_id is the nil UUID for the account's net position.
    """
    CREATE TABLE exposures (
        account_id uuid NOT NULL,
        strategy_id uuid NOT NULL,
        instrument text NOT NULL,
        product text NOT NULL,
        user_id uuid NOT NULL,
        quantity bigint NOT NULL,
        average_price numeric NOT NULL,
        realised_pnl numeric NOT NULL,
        pnl_day date,
        margin numeric NOT NULL,
        version bigint NOT NULL,
        pending_buy bigint NOT NULL,
        pending_sell bigint NOT NULL,
        moved_at timestamptz NOT NULL,
        moved_by uuid NOT NULL,
        PRIMARY KEY (account_id, strategy_id, instrument, product)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE reservations (
        order_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        user_id uuid NOT NULL,
        strategy_id uuid,
        instrument text NOT NULL,
        product text NOT NULL,
        side text NOT NULL,
        order_type text NOT NULL,
        price numeric,
        trigger_price numeric,
        purpose text NOT NULL,
        epoch bigint NOT NULL,
        quantity bigint NOT NULL,
        increasing bigint NOT NULL,
        unit_margin numeric NOT NULL,
        proposed_quantity bigint,
        proposed_increasing bigint,
        proposed_unit_margin numeric,
        filled bigint NOT NULL,
        closed boolean NOT NULL,
        decided_at timestamptz NOT NULL
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE recent_orders (
        account_id uuid NOT NULL,
        terms text NOT NULL,
        cleared_at timestamptz NOT NULL,
        PRIMARY KEY (account_id, terms)
    )
    """,
    """
    CREATE TABLE halts (
        scope text PRIMARY KEY,
        epoch bigint NOT NULL,
        halted boolean NOT NULL
    )
    """,
    """
    CREATE TABLE limits (
        limit_id uuid PRIMARY KEY,
        user_id uuid NOT NULL,
        level text NOT NULL,
        account_id uuid,
        strategy_id uuid,
        instrument text,
        max_order_value numeric,
        max_open_positions bigint,
        max_daily_loss numeric,
        identical_order_window_s bigint,
        active boolean NOT NULL,
        deleted boolean NOT NULL,
        version bigint NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX limits_user ON limits (user_id)",
    """
    CREATE TABLE watches (
        limit_id uuid NOT NULL REFERENCES limits,
        kind text NOT NULL,
        version bigint NOT NULL,
        amount numeric NOT NULL,
        armed boolean NOT NULL,
        day date NOT NULL,
        baseline numeric NOT NULL,
        peak numeric,
        breached_at timestamptz,
        breached_on date,
        changed_at timestamptz NOT NULL,
        PRIMARY KEY (limit_id, kind)
    )
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
