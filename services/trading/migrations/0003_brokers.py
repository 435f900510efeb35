"""What is asked of brokers behind HTTP, what they have of ours, who works for an account, and its credentials.

`broker_calls_open` covers what is unfinished only; an order's calls are few.
"""

from alembic import op

revision = "trading_0003"
down_revision = "trading_0002"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE broker_calls (
        call_id        uuid PRIMARY KEY,
        seq            bigint GENERATED ALWAYS AS IDENTITY,
        account_id     uuid NOT NULL,
        order_id       uuid NOT NULL,
        action         text NOT NULL,
        request        text NOT NULL,
        user_id        uuid,
        correlation_id uuid NOT NULL,
        created_at     timestamptz NOT NULL,
        state          text NOT NULL,
        attempts       integer NOT NULL,
        not_before     timestamptz NOT NULL,
        called_at      timestamptz,
        answered_at    timestamptz
    )
    """,
    "CREATE INDEX broker_calls_open ON broker_calls (account_id, seq) WHERE state <> 'DONE'",
    "CREATE INDEX broker_calls_order ON broker_calls (order_id)",
    """
    CREATE TABLE broker_orders (
        order_id        uuid PRIMARY KEY,
        call_id         uuid NOT NULL,
        account_id      uuid NOT NULL,
        user_id         uuid,
        correlation_id  uuid NOT NULL,
        broker          text NOT NULL,
        instrument      text NOT NULL,
        tag             text NOT NULL,
        day             date NOT NULL,
        state           text NOT NULL,
        answer_due      timestamptz NOT NULL,
        broker_order_id text,
        quantity        integer NOT NULL,
        order_type      text NOT NULL,
        price           numeric,
        trigger_price   numeric,
        triggered       boolean NOT NULL,
        filled_quantity integer NOT NULL,
        trade_ids       text[] NOT NULL,
        absent_reads    integer NOT NULL,
        absent_since    timestamptz
    )
    """,
    "CREATE INDEX broker_orders_watched ON broker_orders (account_id) WHERE state <> 'ENDED'",
    """
    CREATE TABLE broker_leases (
        account_id uuid PRIMARY KEY,
        owner      uuid NOT NULL,
        until      timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE broker_credentials (
        account_id  uuid PRIMARY KEY,
        broker      text NOT NULL,
        wrapped_key bytea NOT NULL,
        sealed      bytea NOT NULL,
        version     integer NOT NULL,
        updated_at  timestamptz NOT NULL
    )
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
