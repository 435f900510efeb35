"""The events that end requests, kept for the instance that waits for them."""

from datetime import datetime, timedelta
from uuid import UUID

from libs.common.contracts.base import Message
from libs.common.service import Connection
from services.gateway.store.changes import Changes
from services.gateway.store.rows import Database

_KEPT = timedelta(hours=1)
_PUT = """
    INSERT INTO outcomes AS o (request_id, type, body, at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::timestamptz[])
    ON CONFLICT (request_id) DO UPDATE SET type = excluded.type, body = excluded.body, at = excluded.at
    WHERE o.at <= excluded.at
"""
"""The newest word stands, whichever topic was read first."""


class Outcomes:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._rows: dict[UUID, tuple[datetime, str, str]] = {}

    def ended(self, request_id: UUID, by: Message, at: datetime) -> None:
        """`by` ends what `request_id` asked for; a later event replaces an earlier one (started, completed)."""
        known = self._rows.get(request_id)
        if known is None or known[0] <= at:
            self._rows[request_id] = (at, type(by).__name__, by.model_dump_json())
            self._changes.outcomes[request_id] = by

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            times, types, bodies = zip(*self._rows.values(), strict=True)
            await connection.execute(_PUT, list(self._rows), types, bodies, times)


async def find(database: Database, request_id: UUID) -> tuple[str, str] | None:
    """The type and JSON of the event that ended a request."""
    row = await database.fetchrow("SELECT type, body FROM outcomes WHERE request_id = $1", request_id)
    return (row["type"], row["body"]) if row else None


async def forget_old(connection: Connection, now: datetime) -> None:
    await connection.execute("DELETE FROM outcomes WHERE at < $1", now - _KEPT)
