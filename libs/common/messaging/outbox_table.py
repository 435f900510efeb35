"""The table of an outbox: what was said with a state that was kept, and is not known to be on Kafka yet."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from libs.common.database import Connection
from libs.common.messaging.envelope import Record
from libs.common.writes import Writes

_INSERT = """
    INSERT INTO message_outbox
        (owner, topic, key, message_id, type, correlation_id, user_id, traceparent, said_at, value)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::uuid[], $5::text[], $6::uuid[], $7::uuid[], $8::text[],
                             $9::timestamptz[], $10::bytea[])
    RETURNING seq
"""
_WAITING = """
    SELECT topic, type, key, message_id, said_at, length(value) AS bytes, count(*) OVER () AS waiting
    FROM message_outbox ORDER BY seq LIMIT $1
"""
_GIVE_UP = """
    DELETE FROM message_outbox gone
    WHERE message_id = $1 AND NOT EXISTS (
        SELECT FROM message_outbox before WHERE before.owner = gone.owner AND before.seq < gone.seq)
    RETURNING topic, type, key, message_id, value
"""


async def keep(writes: Writes, owner: int, records: Sequence[Record]) -> list[int]:
    """Write the records together with what else their transaction writes; their sequence numbers, in order."""
    if not records:
        await writes.send()
        return []
    envelopes = [r.envelope for r in records]
    writes.add(
        _INSERT,
        owner,
        [r.topic for r in records],
        [e.key for e in envelopes],
        [e.id for e in envelopes],
        [e.type for e in envelopes],
        [e.correlation_id for e in envelopes],
        [e.user_id for e in envelopes],
        [e.traceparent for e in envelopes],
        [e.time for e in envelopes],
        [r.value for r in records],
    )
    return [row[0] for row in await writes.send()]


async def waiting(connection: Connection, most: int) -> list[asyncpg.Record]:
    """The oldest of what Kafka has yet to take, whoever said it, and how many there are."""
    found: list[asyncpg.Record] = await connection.fetch(_WAITING, most)
    return found


async def give_up(connection: Connection, message_id: UUID) -> asyncpg.Record | None:
    """Say it no more, whatever that means to who should have heard of it; None when it is not there, or waits behind
    another of its process, and may be taken once that is gone.
    """
    return await connection.fetchrow(_GIVE_UP, message_id)
