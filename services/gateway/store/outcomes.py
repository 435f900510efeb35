"""The events that end requests, kept for the instance that waits for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from libs.common.contracts.base import Message
from libs.common.contracts.orders import OrderCancelled, OrderCancelRefused, OrderModified, OrderModifyRefused
from libs.common.database import Connection
from services.gateway.domain.idempotency import FORGOTTEN_AT_ONCE, KEPT
from services.gateway.store.changes import Changes
from services.gateway.store.rows import Database

Ending: TypeAlias = tuple[str, str]
"""The type and JSON of the event that ended a request."""

_PUT = """
    INSERT INTO outcomes AS o (request_id, type, body, at, of_one_order)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[], $4::timestamptz[], $5::bool[])
    ON CONFLICT (request_id) DO UPDATE
    SET type = excluded.type, body = excluded.body, at = excluded.at, of_one_order = excluded.of_one_order
    WHERE (NOT o.of_one_order, o.at) <= (NOT excluded.of_one_order, excluded.at)
"""
"""The newest word stands, whichever topic was read first; but what became of one order ends only what was asked of that
order. A panic, a square-off or a cancel of all has orders cancelled under its own id.
"""
_FORGET = "DELETE FROM outcomes WHERE ctid = ANY(ARRAY(SELECT ctid FROM outcomes WHERE at < $1 LIMIT $2))"
_OF_ONE_ORDER = (OrderModified, OrderModifyRefused, OrderCancelled, OrderCancelRefused)


class _Outcome(NamedTuple):
    type: str
    body: str
    at: datetime
    of_one_order: bool

    @property
    def weight(self) -> tuple[bool, datetime]:
        return not self.of_one_order, self.at


class Outcomes:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._rows: dict[UUID, _Outcome] = {}

    def ended(self, request_id: UUID, by: Message, at: datetime) -> None:
        """`by` ends what `request_id` asked for; a later event replaces an earlier one (started, completed)."""
        new = _Outcome(type(by).__name__, by.model_dump_json(), at, isinstance(by, _OF_ONE_ORDER))
        known = self._rows.get(request_id)
        if known is None or known.weight <= new.weight:
            self._rows[request_id] = new
            self._changes.outcomes[request_id] = by

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            await connection.execute(_PUT, list(self._rows), *zip(*self._rows.values(), strict=True))


async def endings(database: Database, request_ids: Sequence[UUID]) -> dict[UUID, Ending]:
    """Of those of these requests that have ended."""
    rows = await database.fetch(
        "SELECT request_id, type, body FROM outcomes WHERE request_id = ANY($1::uuid[])", request_ids
    )
    return {row["request_id"]: (row["type"], row["body"]) for row in rows}


async def forget_old(connection: Connection, now: datetime) -> None:
    """As late as the keys under which they are asked for: who carries a request out says nothing twice."""
    await connection.execute(_FORGET, now - KEPT, FORGOTTEN_AT_ONCE)
