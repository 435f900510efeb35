"""Signal groups with their daily counts, and the log of everything that arrived for them."""

from alembic import op

revision = "signals_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The daily count changes with every accepted alert: room in the page keeps those updates off the indexes.
    op.execute("""
        CREATE TABLE signal_groups (
            group_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            name text NOT NULL,
            source text NOT NULL,
            max_signals_per_day integer NOT NULL,
            expiry_date date,
            market_hours_only boolean NOT NULL,
            duplicate_window_s integer NOT NULL,
            max_per_minute integer NOT NULL,
            signature_required boolean NOT NULL,
            active boolean NOT NULL,
            rotation integer NOT NULL,
            version integer NOT NULL,
            counted_on date,
            counted integer NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50)
    """)
    op.execute("""
        CREATE TABLE webhook_log (
            id uuid PRIMARY KEY,
            group_id uuid NOT NULL,
            user_id uuid NOT NULL,
            received_at timestamptz NOT NULL,
            source_ip text NOT NULL,
            content_hash bytea NOT NULL,
            alert_id text,
            payload text NOT NULL,
            fate text NOT NULL,
            reason text NOT NULL,
            signal_id uuid,
            processing_ms double precision NOT NULL
        )
    """)
    op.execute("CREATE INDEX webhook_log_user ON webhook_log (user_id, id)")
    op.execute("CREATE INDEX webhook_log_group ON webhook_log (group_id, id)")
    op.execute("""
        CREATE INDEX webhook_log_content ON webhook_log (group_id, content_hash, received_at)
        WHERE fate = 'ACCEPTED'
    """)
    op.execute("""
        CREATE INDEX webhook_log_alert ON webhook_log (group_id, alert_id, received_at)
        WHERE fate = 'ACCEPTED' AND alert_id IS NOT NULL
    """)
    op.execute("CREATE INDEX webhook_log_received_at ON webhook_log USING brin (received_at)")


def downgrade() -> None:
    op.execute("DROP TABLE webhook_log")
    op.execute("DROP TABLE signal_groups")
