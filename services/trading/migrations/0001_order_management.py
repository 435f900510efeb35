"""Accounts with their funds, orders, executions, positions, square-offs and panic epochs.

Only columns that never change (or once a day, or once in an order's life) are indexed, so that the updates of the
order path stay on their page (HOT).
"""

from alembic import op

revision = "trading_0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE accounts (
        account_id      uuid PRIMARY KEY,
        user_id         uuid NOT NULL,
        name            text NOT NULL,
        broker          text NOT NULL,
        labels          text[] NOT NULL,
        is_master       boolean NOT NULL,
        active          boolean NOT NULL,
        deleted         boolean NOT NULL DEFAULT false,
        capital         numeric NOT NULL,
        version         integer NOT NULL,
        opening_balance numeric NOT NULL,
        realised_pnl    numeric NOT NULL,
        used_margin     numeric NOT NULL,
        funds_version   integer NOT NULL,
        day             date NOT NULL,
        square_offs     integer NOT NULL
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX accounts_user ON accounts (user_id)",
    "CREATE INDEX accounts_day ON accounts (day)",
    """
    CREATE TABLE orders (
        order_id            uuid PRIMARY KEY,
        account_id          uuid NOT NULL,
        user_id             uuid NOT NULL,
        strategy_id         uuid,
        instrument          text NOT NULL,
        side                text NOT NULL,
        quantity            integer NOT NULL,
        order_type          text NOT NULL,
        product             text NOT NULL,
        validity            text NOT NULL,
        price               numeric,
        trigger_price       numeric,
        purpose             text NOT NULL,
        square_off_id       uuid,
        requested_at        timestamptz NOT NULL,
        tag                 text NOT NULL,
        status              text NOT NULL,
        is_open             boolean NOT NULL,
        version             integer NOT NULL,
        epoch               integer NOT NULL,
        margin              numeric NOT NULL,
        expires_at          timestamptz,
        filled_quantity     integer NOT NULL,
        filled_value        numeric NOT NULL,
        broker_order_id     text,
        triggered           boolean NOT NULL,
        cancel_requested_at timestamptz,
        change              text
    ) WITH (fillfactor = 60)
    """,
    "CREATE INDEX orders_open ON orders (account_id) WHERE is_open",
    """
    CREATE TABLE executions (
        venue        text NOT NULL,
        execution_id text NOT NULL,
        order_id     uuid NOT NULL,
        kind         text NOT NULL,
        quantity     integer NOT NULL,
        price        numeric,
        executed_at  timestamptz NOT NULL,
        PRIMARY KEY (execution_id, venue)
    )
    """,
    """
    CREATE TABLE positions (
        account_id      uuid NOT NULL,
        instrument      text NOT NULL,
        product         text NOT NULL,
        user_id         uuid NOT NULL,
        order_id        uuid NOT NULL,
        quantity        integer NOT NULL,
        cost            numeric NOT NULL,
        realised_pnl    numeric NOT NULL,
        bought_quantity integer NOT NULL,
        sold_quantity   integer NOT NULL,
        bought_value    numeric NOT NULL,
        sold_value      numeric NOT NULL,
        margin          numeric NOT NULL,
        version         integer NOT NULL,
        PRIMARY KEY (account_id, instrument, product)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE books (
        account_id      uuid NOT NULL,
        instrument      text NOT NULL,
        product         text NOT NULL,
        strategy_id     uuid NOT NULL,
        quantity        integer NOT NULL,
        cost            numeric NOT NULL,
        realised_pnl    numeric NOT NULL,
        bought_quantity integer NOT NULL,
        sold_quantity   integer NOT NULL,
        bought_value    numeric NOT NULL,
        sold_value      numeric NOT NULL,
        PRIMARY KEY (account_id, instrument, product, strategy_id)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX books_strategy ON books (strategy_id)",
    """
    CREATE TABLE square_offs (
        square_off_id uuid PRIMARY KEY,
        account_id    uuid NOT NULL,
        user_id       uuid NOT NULL,
        strategy_id   uuid,
        instrument    text,
        product       text,
        reason        text NOT NULL,
        started_at    timestamptz NOT NULL,
        failures      integer NOT NULL,
        retry_at      timestamptz,
        completed_at  timestamptz
    )
    """,
    "CREATE INDEX square_offs_open ON square_offs (account_id) WHERE completed_at IS NULL",
    """
    CREATE TABLE largest_orders (
        instrument text PRIMARY KEY,
        quantity   integer NOT NULL
    )
    """,
    """
    CREATE TABLE panic_epochs (
        scope    text PRIMARY KEY,
        epoch    integer NOT NULL,
        halted   boolean NOT NULL,
        panic_id uuid
    )
    """,
    """
    CREATE TABLE panics (
        panic_id     uuid PRIMARY KEY,
        scope        text NOT NULL,
        epoch        integer NOT NULL,
        requested_by uuid NOT NULL,
        reason       text NOT NULL,
        raised_at    timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
