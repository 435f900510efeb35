"""The events that end requests, kept for the instance that waits for them."""

from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.base import Message
from libs.common.service import Connection
from services.gateway.store.changes import Changes
from services.gateway.store.rows import Database

_KEPT = timedelta(hours=1)
_PUT = """
    INSERT INTO outcomes (request_id, type, body, at)
    SELECT id, type, body, $4 FROM unnest($1::uuid[], $2::text[], $3::jsonb[]) AS n (id, type, body)
    ON CONFLICT (request_id) DO UPDATE SET type = excluded.type, body = excluded.body, at = excluded.at
"""


class Outcomes:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._at: datetime | None = None

    def ended(self, request_id: UUID, by: Message, at: datetime) -> None:
        """`by` ends what `request_id` asked for; a later event replaces an earlier one (started, completed)."""
        self._changes.outcomes[request_id] = by
        self._at = at

    async def flush(self, connection: Connection) -> None:
        found = self._changes.outcomes
        if found:
            types = [type(message).__name__ for message in found.values()]
            bodies = [message.model_dump_json() for message in found.values()]
            await connection.execute(_PUT, list(found), types, bodies, self._at)


async def find(database: Database, request_id: UUID) -> tuple[str, str] | None:
    """The type and JSON of the event that ended a request."""
    row = await database.fetchrow("SELECT type, body FROM outcomes WHERE request_id = $1", request_id)
    return (row["type"], row["body"]) if row else None


async def forget_old(connection: Connection, now: datetime) -> None:
    await connection.execute("DELETE FROM outcomes WHERE at < $1", now - _KEPT)
