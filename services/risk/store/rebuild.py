"""What a rebuild forgets, and what it takes from risk's own words."""

from collections.abc import Collection
from datetime import datetime

from libs.common.contracts.risk import MTMBreached, RiskLimitDeleted, WatchMoved
from libs.common.database import Connection
from services.risk.domain.instruments import trading_day

STATE = ("accounts", "exposures", "reservations", "recent_orders", "halts", "watches", "limits", "corporate_actions")

_STAND = """
    SELECT w.limit_id, l.user_id, w.kind, w.version, w.armed, w.day, w.baseline, w.peak, w.carried_peak
    FROM unnest($1::uuid[], $2::text[]) AS k (limit_id, kind) JOIN watches w USING (limit_id, kind)
    JOIN limits l USING (limit_id) ORDER BY w.limit_id, w.kind
"""
_MOVE = """
    UPDATE watches SET armed = $4, day = $5, baseline = $6, peak = $7, carried_peak = $8, realised_before = NULL,
        changed_at = now()
    WHERE limit_id = $1 AND kind = $2 AND version = $3
"""
_BREACH = """
    UPDATE watches SET armed = false, day = $3, breached_at = $4, breached_on = $3, breached_mtm = $5,
        changed_at = now()
    WHERE limit_id = $1 AND kind = $2
"""
_DELETED = "UPDATE limits SET changed_at = $2 WHERE limit_id = $1"


async def forget(connection: Connection, _: datetime) -> None:
    await connection.execute(f"TRUNCATE {', '.join(STATE)}")


async def watches_stand(connection: Connection, keys: Collection[tuple[object, str]]) -> list[WatchMoved]:
    """Where these watches are now, to be said."""
    rows = await connection.fetch(_STAND, [key[0] for key in keys], [key[1] for key in keys])
    return [WatchMoved(watch=f"{row['limit_id']}:{row['kind']}", **row) for row in rows]


async def move_watch(connection: Connection, told: WatchMoved) -> None:
    stands = (told.armed, told.day, told.baseline, told.peak, told.carried_peak)
    await connection.execute(_MOVE, told.limit_id, told.kind, told.version, *stands)


async def limit_was_deleted(connection: Connection, told: RiskLimitDeleted, at: datetime) -> None:
    """As long ago as it was: it is forgotten when it would have been."""
    await connection.execute(_DELETED, told.limit_id, at)


async def breach(connection: Connection, told: MTMBreached) -> None:
    at = told.breached_at
    await connection.execute(_BREACH, told.limit_id, told.kind, trading_day(at), at, told.mtm)
