"""Where accounts' positions and their brokers' differ, as trading told it last."""

from uuid import UUID

import orjson

from libs.common.contracts.brokers import PositionsCompared
from libs.common.database import Connection
from services.gateway.store.rows import Database, Row

_PUT = """
    INSERT INTO broker_positions AS p (account_id, user_id, body, version)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::int[])
    ON CONFLICT (account_id) DO UPDATE SET body = excluded.body, version = excluded.version
    WHERE p.version < excluded.version
"""


class BrokerPositions:
    def __init__(self) -> None:
        self._newest: dict[UUID, PositionsCompared] = {}

    def compared(self, event: PositionsCompared) -> None:
        known = self._newest.get(event.account_id)
        if known is None or known.version < event.version:
            self._newest[event.account_id] = event

    async def flush(self, connection: Connection) -> None:
        if self._newest:
            rows = [(e.account_id, e.user_id, e.model_dump_json(), e.version) for e in self._newest.values()]
            await connection.execute(_PUT, *zip(*rows, strict=True))


async def find(database: Database, account_id: UUID) -> Row | None:
    """The newest PositionsCompared of the account; None when its broker was never looked at."""
    body = await database.fetchval("SELECT body FROM broker_positions WHERE account_id = $1", account_id)
    found: Row | None = orjson.loads(body) if body else None
    return found
