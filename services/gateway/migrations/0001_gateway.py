"""Identity, idempotency, projections."""

from alembic import op

revision = "gateway_0001"
down_revision = None

IDENTITY = """
CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE,
    username text NOT NULL,
    role text NOT NULL,
    password_hash text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_username ON users (lower(username));

CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    token_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    rotated_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id);
COMMENT ON TABLE sessions IS 'A login and the family of refresh tokens that follow from it; only the newest is good';

CREATE TABLE api_keys (
    key_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL UNIQUE,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    message_id uuid NOT NULL,
    leased_until timestamptz NOT NULL,
    status integer,
    body bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at);
"""

BOOKS = """
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    strategy_id uuid,
    instrument text NOT NULL,
    side text NOT NULL,
    quantity bigint NOT NULL,
    order_type text NOT NULL,
    product text NOT NULL,
    validity text NOT NULL,
    price numeric,
    trigger_price numeric,
    purpose text NOT NULL,
    square_off_id uuid,
    requested_at timestamptz NOT NULL,
    status text NOT NULL,
    filled_quantity bigint NOT NULL,
    average_price numeric,
    broker_order_id text,
    rule text,
    reason text,
    limit_text text,
    value_text text,
    version integer NOT NULL,
    seq bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    history text NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX orders_account ON orders (account_id, requested_at, order_id);
CREATE INDEX orders_user ON orders (user_id, requested_at, order_id);
COMMENT ON COLUMN orders.seq IS 'Place of its last change in the orders channel of its user';
COMMENT ON COLUMN orders.history IS 'JSON objects, one per event, each followed by a comma';

CREATE TABLE fills (
    fill_id uuid PRIMARY KEY,
    order_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    strategy_id uuid,
    instrument text NOT NULL,
    side text NOT NULL,
    product text NOT NULL,
    quantity bigint NOT NULL,
    price numeric NOT NULL,
    broker_fill_id text NOT NULL,
    filled_at timestamptz NOT NULL,
    seq bigint NOT NULL
);
CREATE INDEX fills_account ON fills (account_id, filled_at, fill_id);
CREATE INDEX fills_user ON fills (user_id, filled_at, fill_id);

CREATE TABLE positions (
    account_id uuid NOT NULL,
    instrument text NOT NULL,
    product text NOT NULL,
    user_id uuid NOT NULL,
    quantity bigint NOT NULL,
    average_price numeric NOT NULL,
    realised_pnl numeric NOT NULL,
    bought_quantity bigint NOT NULL,
    sold_quantity bigint NOT NULL,
    bought_value numeric NOT NULL,
    sold_value numeric NOT NULL,
    margin numeric NOT NULL,
    version integer NOT NULL,
    seq bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, instrument, product)
) WITH (fillfactor = 70);
CREATE INDEX positions_user ON positions (user_id);

CREATE TABLE strategy_positions (
    account_id uuid NOT NULL,
    strategy_id uuid NOT NULL,
    instrument text NOT NULL,
    product text NOT NULL,
    user_id uuid NOT NULL,
    quantity bigint NOT NULL,
    average_price numeric NOT NULL,
    realised_pnl numeric NOT NULL,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, strategy_id, instrument, product)
) WITH (fillfactor = 70);
CREATE INDEX strategy_positions_user ON strategy_positions (user_id);

CREATE TABLE funds (
    account_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    opening_balance numeric NOT NULL,
    realised_pnl numeric NOT NULL,
    used_margin numeric NOT NULL,
    available numeric NOT NULL,
    version integer NOT NULL,
    seq bigint NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX funds_user ON funds (user_id);

CREATE TABLE channel_counters (
    user_id uuid PRIMARY KEY,
    orders bigint NOT NULL,
    fills bigint NOT NULL,
    positions bigint NOT NULL,
    funds bigint NOT NULL,
    signals bigint NOT NULL,
    risk bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE channel_counters IS 'How many changes each WebSocket channel of a user has seen, ever';
"""

REST = """
CREATE TABLE entities (
    kind text NOT NULL,
    entity_id uuid NOT NULL,
    user_id uuid NOT NULL,
    version integer NOT NULL,
    body jsonb NOT NULL,
    deleted boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (kind, entity_id)
);
CREATE INDEX entities_user ON entities (user_id, kind);
COMMENT ON TABLE entities IS 'Accounts, algos, signal groups and risk limits, as their owners last saved them';

CREATE TABLE outcomes (
    request_id uuid PRIMARY KEY,
    type text NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX outcomes_at ON outcomes USING brin (at);
COMMENT ON TABLE outcomes IS 'The event that ended a request, for whoever waits for it or repeats it; kept a day';

CREATE TABLE square_offs (
    square_off_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    strategy_id uuid,
    instrument text,
    product text,
    reason text NOT NULL,
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    completed_at timestamptz
);

CREATE TABLE panics (
    scope text PRIMARY KEY,
    panic_id uuid NOT NULL,
    level text NOT NULL,
    epoch bigint NOT NULL,
    in_force boolean NOT NULL,
    changed_by uuid NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE signals (
    signal_id uuid PRIMARY KEY,
    group_id uuid NOT NULL,
    user_id uuid NOT NULL,
    body jsonb NOT NULL,
    decisions jsonb NOT NULL DEFAULT '[]',
    received_at timestamptz NOT NULL,
    seq bigint NOT NULL
);
CREATE INDEX signals_user ON signals (user_id, received_at, signal_id);

CREATE TABLE risk_events (
    event_id uuid NOT NULL,
    user_id uuid NOT NULL,
    account_id uuid,
    type text NOT NULL,
    body jsonb NOT NULL,
    at timestamptz NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (event_id, user_id)
);
CREATE INDEX risk_events_user ON risk_events (user_id, at, event_id);

CREATE TABLE instruments (
    instrument text PRIMARY KEY,
    exchange text NOT NULL,
    symbol text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    underlying text,
    expiry date,
    strike numeric,
    option_type text,
    lot_size bigint NOT NULL,
    tick_size numeric NOT NULL,
    freeze_quantity bigint,
    price_band numeric,
    tradable boolean NOT NULL,
    words tsvector NOT NULL
);
CREATE INDEX instruments_words ON instruments USING gin (words) WITH (fastupdate = off);
CREATE INDEX instruments_cash ON instruments (symbol) WHERE kind IN ('INDEX', 'EQUITY');
CREATE INDEX instruments_symbol ON instruments (symbol);
CREATE INDEX instruments_nearest ON instruments (expiry, underlying, strike NULLS FIRST, symbol);
CREATE INDEX instruments_underlying ON instruments (underlying, expiry, strike NULLS FIRST, symbol);
"""


def upgrade() -> None:
    for tables in (IDENTITY, BOOKS, REST):
        for statement in tables.split(";\n"):
            if statement.strip():
                op.execute(statement)
