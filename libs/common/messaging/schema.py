"""The runtime's own tables, the same in every service's schema."""

TABLES = (
    """
    CREATE TABLE IF NOT EXISTS message_offsets (
        topic text NOT NULL,
        partition integer NOT NULL,
        next_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition)
    )
    """,
    "ALTER TABLE message_offsets ADD COLUMN IF NOT EXISTS owner bigint",
    """
    CREATE TABLE IF NOT EXISTS message_members (
        owner bigint PRIMARY KEY,
        instance text NOT NULL,
        beats bigint NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS message_inbox (
        message_id uuid PRIMARY KEY,
        received_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS message_inbox_received_at ON message_inbox USING brin (received_at)",
    """
    CREATE TABLE IF NOT EXISTS message_outbox (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        owner bigint NOT NULL,
        topic text NOT NULL,
        key text NOT NULL,
        message_id uuid NOT NULL,
        type text NOT NULL,
        correlation_id uuid NOT NULL,
        user_id uuid,
        traceparent text,
        said_at timestamptz NOT NULL,
        value bytea NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    """
    CREATE TABLE IF NOT EXISTS message_parked (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        topic text NOT NULL,
        partition integer NOT NULL,
        message_offset bigint NOT NULL,
        key text NOT NULL,
        type text NOT NULL,
        headers jsonb NOT NULL,
        value bytea NOT NULL,
        reason text NOT NULL,
        parked_at timestamptz NOT NULL,
        retry_requested boolean NOT NULL DEFAULT false,
        UNIQUE (topic, partition, message_offset)
    )
    """,
    "ALTER TABLE message_parked ADD COLUMN IF NOT EXISTS retry_begun boolean NOT NULL DEFAULT false",
    "ALTER TABLE message_parked ADD COLUMN IF NOT EXISTS given_up boolean NOT NULL DEFAULT false",
    "CREATE INDEX IF NOT EXISTS message_parked_key ON message_parked (key, seq)",
    """
    CREATE TABLE IF NOT EXISTS message_discarded (
        topic text NOT NULL,
        partition integer NOT NULL,
        message_offset bigint NOT NULL,
        PRIMARY KEY (topic, partition, message_offset)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS message_suspects (
        topic text NOT NULL,
        partition integer NOT NULL,
        message_offset bigint NOT NULL,
        ends integer NOT NULL,
        PRIMARY KEY (topic, partition, message_offset)
    )
    """,
)
