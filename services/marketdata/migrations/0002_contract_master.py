"""The contract master of all brokers: terms in columns, each broker's own symbols and tokens, what waits to be
published, downloads, expiries, custom symbols and corporate actions.
"""

from alembic import op

revision = "marketdata_0002"
down_revision = "marketdata_0001"

_TERMS = """
    exchange text NOT NULL,
    symbol text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    underlying text,
    spot text,
    expiry date,
    strike numeric,
    option_type text,
    lot_size bigint NOT NULL,
    tick_size numeric NOT NULL,
    freeze_quantity bigint,
    price_band numeric,
    monthly boolean
"""

TABLES = (
    "ALTER TABLE contracts RENAME TO contracts_as_json",
    "ALTER TABLE contracts_as_json RENAME CONSTRAINT contracts_pkey TO contracts_as_json_pkey",
    f"""
    CREATE TABLE contracts (
        instrument text PRIMARY KEY, {_TERMS},
        tradable boolean NOT NULL,
        gone_on date,
        published_at timestamptz NOT NULL
    )
    """,
    """
    INSERT INTO contracts
    SELECT instrument, l->>'exchange', l->>'symbol', l->>'name', l->>'kind', l->>'underlying', l->>'spot',
        (l->>'expiry')::date, (l->>'strike')::numeric, l->>'option_type', (l->>'lot_size')::bigint,
        (l->>'tick_size')::numeric, (l->>'freeze_quantity')::bigint, (l->>'price_band')::numeric, NULL, tradable,
        CASE WHEN tradable OR l->>'kind' = 'INDEX' THEN NULL ELSE published_at::date END, published_at
    FROM (SELECT *, listing::jsonb AS l FROM contracts_as_json) old
    """,
    "DROP TABLE contracts_as_json",
    "CREATE INDEX contracts_chain ON contracts (underlying, kind, expiry) WHERE gone_on IS NULL",
    f"""
    CREATE TABLE broker_contracts (
        source text NOT NULL,
        instrument text NOT NULL, {_TERMS},
        token text,
        broker_symbol text,
        listed boolean NOT NULL,
        seen_on date NOT NULL,
        PRIMARY KEY (source, instrument)
    )
    """,
    "CREATE INDEX broker_contracts_token ON broker_contracts (source, token)",
    "CREATE INDEX broker_contracts_symbol ON broker_contracts (source, broker_symbol)",
    "CREATE INDEX broker_contracts_instrument ON broker_contracts (instrument)",
    f"""
    CREATE TABLE pending_listings (
        instrument text PRIMARY KEY, {_TERMS},
        tradable boolean NOT NULL,
        change text NOT NULL,
        day date NOT NULL,
        old_lot_size bigint,
        old_tick_size numeric,
        old_freeze_quantity bigint
    )
    """,
    """
    CREATE TABLE master_downloads (
        source text PRIMARY KEY,
        wanted_at timestamptz,
        wanted_by text,
        scheduled_on date,
        attempts int NOT NULL DEFAULT 0,
        running_until timestamptz,
        good_at timestamptz,
        checksum text,
        contracts bigint,
        unreadable bigint,
        failed_at timestamptz,
        reason text
    )
    """,
    """
    CREATE TABLE expiry_roles (
        exchange text NOT NULL,
        underlying text NOT NULL,
        kind text NOT NULL,
        role text NOT NULL,
        expiry date NOT NULL,
        PRIMARY KEY (exchange, underlying, kind, role)
    )
    """,
    """
    CREATE TABLE custom_symbols (
        custom_symbol_id uuid PRIMARY KEY,
        user_id uuid NOT NULL,
        symbol text NOT NULL UNIQUE,
        body jsonb NOT NULL,
        version int NOT NULL
    )
    """,
    """
    CREATE TABLE corporate_actions (
        instrument text NOT NULL,
        ex_date date NOT NULL,
        kind text NOT NULL,
        old int NOT NULL,
        new int NOT NULL,
        amount numeric NOT NULL,
        imported_at timestamptz NOT NULL,
        PRIMARY KEY (instrument, ex_date, kind)
    )
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """The master is published anew from the feed's contracts."""
    for table in ("broker_contracts", "pending_listings", "master_downloads", "expiry_roles", "custom_symbols"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP TABLE corporate_actions")
    op.execute("DROP TABLE contracts")
    op.execute(
        "CREATE TABLE contracts (instrument text PRIMARY KEY, tradable boolean NOT NULL, listing text NOT NULL,"
        " published_at timestamptz NOT NULL)"
    )
