"""Idempotency keys: claimed by one statement, so that of many equal requests one is carried out."""

from datetime import datetime
from uuid import UUID

from libs.common.messaging.leases import OWNER_LOCK
from services.gateway.domain.idempotency import FORGOTTEN_AT_ONCE, KEPT, Claim
from services.gateway.store.rows import Database

_CLAIM = """
    INSERT INTO idempotency_keys AS k (user_id, key, fingerprint, message_id, leased_until, created_at, owner)
    VALUES ($1, $2, $3, $4, $5, $6, $8)
    ON CONFLICT (user_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, message_id = excluded.message_id,
        leased_until = excluded.leased_until, created_at = excluded.created_at, owner = excluded.owner,
        status = NULL, body = NULL
    WHERE k.created_at < $7
    RETURNING message_id
"""
_TAKE_OVER = """
    UPDATE idempotency_keys k SET leased_until = $4, owner = $5
    WHERE user_id = $1 AND key = $2 AND status IS NULL AND (leased_until <= $3 OR owner <> $5 AND NOT EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.classid = $6::bigint::oid AND l.objid = k.owner::oid AND l.granted))
    RETURNING message_id
"""
"""Every process holds the advisory lock of its outbox as long as it lives."""
_FORGET = """
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT $2))
"""


async def claim(
    database: Database,
    user_id: UUID,
    key: str,
    fingerprint: bytes,
    message_id: UUID,
    now: datetime,
    leased_until: datetime,
    owner: int,
) -> Claim | None:
    """None when the key is ours: it was free, or its day was over; else whose it is. `owner` is the process, as its
    outbox is known.
    """
    values = user_id, key, fingerprint, message_id, leased_until, now, now - KEPT, owner
    while await database.fetchval(_CLAIM, *values) is None:
        if (found := await _find(database, user_id, key)) is not None:  # else it was forgotten since
            return found
    return None


async def is_claimed(database: Database, user_id: UUID, key: str) -> bool:
    question = "SELECT EXISTS (SELECT FROM idempotency_keys WHERE user_id = $1 AND key = $2)"
    return bool(await database.fetchval(question, user_id, key))


async def _find(database: Database, user_id: UUID, key: str) -> Claim | None:
    row = await database.fetchrow(
        "SELECT fingerprint, leased_until, status, owner, body FROM idempotency_keys WHERE user_id = $1 AND key = $2",
        user_id,
        key,
    )
    return Claim(**row) if row else None


async def take_over(
    database: Database, user_id: UUID, key: str, now: datetime, leased_until: datetime, owner: int
) -> UUID | None:
    """The message id of a claim whose lease ran out or whose process died, now leased to us; None when it is held."""
    found: UUID | None = await database.fetchval(_TAKE_OVER, user_id, key, now, leased_until, owner, OWNER_LOCK)
    return found


async def answer(database: Database, user_id: UUID, key: str, status: int, body: bytes) -> None:
    await database.execute(
        "UPDATE idempotency_keys SET status = $3, body = $4 WHERE user_id = $1 AND key = $2", user_id, key, status, body
    )


async def release(database: Database, user_id: UUID, key: str) -> None:
    """The outcome is open: the next request with the key asks again, under the same message id, whatever the clock says
    by then.
    """
    await database.execute(
        "UPDATE idempotency_keys SET leased_until = to_timestamp(0) WHERE user_id = $1 AND key = $2", user_id, key
    )


async def forget_old(database: Database, now: datetime) -> None:
    await database.execute(_FORGET, now - KEPT, FORGOTTEN_AT_ONCE)
