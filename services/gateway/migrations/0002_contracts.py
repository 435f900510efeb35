"""Instruments that are gone, and the words that a misspelled search is compared with."""

from alembic import op

revision = "gateway_0002"
down_revision = "gateway_0001"


def upgrade() -> None:
    op.execute("ALTER TABLE instruments ADD COLUMN delisted boolean NOT NULL DEFAULT false")
    op.execute("CREATE TABLE instrument_words (word text PRIMARY KEY)")
    op.execute(
        """
        INSERT INTO instrument_words
        SELECT word FROM ts_stat('SELECT words FROM instruments') WHERE word ~ '^[a-z&]{3,}$'
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE instrument_words")
    op.execute("ALTER TABLE instruments DROP COLUMN delisted")
