"""What a WebSocket channel shows first, and what a client missed that knows how far it came."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.database import Connection
from services.gateway.store.books import FILL_COLUMNS, SHOWN
from services.gateway.store.changes import Channel
from services.gateway.store.queries import OPEN_STATUSES, funds, positions, positions_since
from services.gateway.store.rows import Database, Row

_FILLS = ", ".join(FILL_COLUMNS)
_RECENT = timedelta(days=1)
_ORDERS_LIVE = timedelta(days=7)
"""For a session at most, but for one whose outcome nobody knows: a person tells it within days."""
_FIRST_ROWS = 200
_MISSED_ROWS = 1_000
"""In a frame of less than 1 MiB, the longest that many WebSocket clients take; who missed more reads REST's lists."""
_RISK = "event_id, user_id, account_id, type, body, at, seq"
_GROWING = {
    Channel.FILLS: ("fills", _FILLS, "filled_at", "fill_id"),
    Channel.RISK: ("risk_events", _RISK, "at", "event_id"),
}
"""Channels of which each change is a row of its own that nothing tells again: the table, what is shown, their order."""
_TOLD_WHOLE = (Channel.POSITIONS, *_GROWING)
"""All that changed is told, or the beginning anew."""


async def counters(database: Database, user_ids: Sequence[UUID]) -> list[Row]:
    """How many changes each channel of these users has seen."""
    rows = await database.fetch(
        "SELECT * FROM channel_counters WHERE user_id = ANY($1::uuid[])", list(user_ids), timeout=2
    )
    return [dict(row) for row in rows]


@dataclass(frozen=True, slots=True)
class Scene:
    """A channel at one moment: the number of its last change and the rows, all of them or those changed since."""

    seq: int
    rows: list[Row]
    since: int | None


async def scene(connection: Connection, channel: Channel, user_id: UUID, since: int | None, now: datetime) -> Scene:
    """Read the counter and the rows in one snapshot of the database. `since` beyond the counter is not believed."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await scene_in(connection, channel, user_id, since, now)


async def scene_in(connection: Connection, channel: Channel, user_id: UUID, since: int | None, now: datetime) -> Scene:
    """The same within a transaction that sees one snapshot."""
    found = await connection.fetchval(
        f"SELECT {channel.value} FROM channel_counters WHERE user_id = $1",  # noqa: S608 - name of our own enum
        user_id,
    )
    seq: int = found or 0
    if since is not None and not 0 <= since <= seq:
        since = None
    if since == seq:
        return Scene(seq, [], since)
    if since is not None and channel in _TOLD_WHOLE:
        missed = await _missed(connection, channel, user_id, since, seq, now)
        if missed is not None:
            return Scene(seq, missed, since)
        since = None
    rows = await _FIRST[channel](connection, user_id, now)
    if since is None:
        return Scene(seq, rows, None)
    newer = [row for row in rows if row["seq"] > since]
    if channel is Channel.FUNDS or len(newer) == seq - since:
        return Scene(seq, newer, since)
    older = await _older_orders(connection, user_id, since, now) if channel is Channel.ORDERS else []
    if _nothing_missing(rows, newer, older):
        return Scene(seq, [*older, *newer], since)
    return Scene(seq, rows, None)


async def _missed(
    connection: Connection, channel: Channel, user_id: UUID, since: int, seq: int, now: datetime
) -> list[Row] | None:
    """All that changed after a number; None where that is too much, or not known to be all."""
    if channel is Channel.POSITIONS:
        changed = await positions_since(connection, user_id, since, _FIRST_ROWS)
        return changed if len(changed) < _FIRST_ROWS else None
    if seq - since > _MISSED_ROWS:
        return None
    found = await _rows_since(connection, channel, user_id, since, now)
    return found if len(found) == seq - since else None


def _nothing_missing(rows: list[Row], newer: list[Row], older: list[Row]) -> bool:
    """Whether these are all that changed after a number, though orders change repeatedly: no row is left out, and one
    that did not change since shows that the number is of the last day.
    """
    return max(len(rows), len(older)) < _FIRST_ROWS and len(newer) < len(rows)


async def _recent_orders(connection: Connection, user_id: UUID, now: datetime) -> list[Row]:
    """A day's open orders and its newest others."""
    rows = await connection.fetch(
        f"""
        (SELECT {SHOWN} FROM orders WHERE user_id = $1 AND requested_at > $2 AND status = ANY($3::text[]))
        UNION
        (SELECT {SHOWN} FROM orders WHERE user_id = $1 AND requested_at > $2
         ORDER BY requested_at DESC, order_id DESC LIMIT $4)
        ORDER BY requested_at, order_id
        """,  # noqa: S608 - names of our own table
        user_id,
        now - _RECENT,
        OPEN_STATUSES,
        _FIRST_ROWS,
    )
    return [dict(row) for row in rows]


async def _older_orders(connection: Connection, user_id: UUID, since: int, now: datetime) -> list[Row]:
    """Those that are not recent and went on after that number: yesterday's that were filled or expired, say."""
    rows = await connection.fetch(
        f"""
        SELECT {SHOWN} FROM orders WHERE user_id = $1 AND requested_at > $2 AND requested_at <= $3 AND seq > $4
        ORDER BY requested_at, order_id LIMIT $5
        """,  # noqa: S608 - names of our own table
        user_id,
        now - _RECENT - _ORDERS_LIVE,
        now - _RECENT,
        since,
        _FIRST_ROWS,
    )
    return [dict(row) for row in rows]


async def _recent_fills(connection: Connection, user_id: UUID, now: datetime) -> list[Row]:
    rows = await connection.fetch(
        f"SELECT {_FILLS} FROM fills WHERE user_id = $1 AND filled_at > $2 ORDER BY filled_at DESC LIMIT $3",  # noqa: S608
        user_id,
        now - _RECENT,
        _FIRST_ROWS,
    )
    return [dict(row) for row in reversed(rows)]


async def _rows_since(connection: Connection, channel: Channel, user_id: UUID, since: int, now: datetime) -> list[Row]:
    """Those of the last day that came after that number."""
    table, shown, time, identity = _GROWING[channel]
    rows = await connection.fetch(
        f"""
        SELECT {shown} FROM {table} WHERE user_id = $1 AND {time} > $2 AND seq > $3 ORDER BY {time}, {identity}
        """,  # noqa: S608 - names of our own tables
        user_id,
        now - _RECENT,
        since,
    )
    return [dict(row) for row in rows]


async def _live_positions(connection: Connection, user_id: UUID, _: datetime) -> list[Row]:
    return await positions(connection, user_id)


async def _all_funds(connection: Connection, user_id: UUID, _: datetime) -> list[Row]:
    return await funds(connection, user_id)


async def _recent_signals(connection: Connection, user_id: UUID, now: datetime) -> list[Row]:
    rows = await connection.fetch(
        """
        SELECT signal_id, body, decisions, received_at, seq FROM signals
        WHERE user_id = $1 AND received_at > $2 ORDER BY received_at DESC LIMIT $3
        """,
        user_id,
        now - _RECENT,
        _FIRST_ROWS,
    )
    return [dict(row) for row in reversed(rows)]


async def _recent_risk(connection: Connection, user_id: UUID, now: datetime) -> list[Row]:
    rows = await connection.fetch(
        f"SELECT {_RISK} FROM risk_events WHERE user_id = $1 AND at > $2 ORDER BY at DESC, event_id DESC LIMIT $3",  # noqa: S608
        user_id,
        now - _RECENT,
        _FIRST_ROWS,
    )
    return [dict(row) for row in reversed(rows)]


_FIRST: dict[Channel, Callable[[Connection, UUID, datetime], Awaitable[list[Row]]]] = {
    Channel.ORDERS: _recent_orders,
    Channel.FILLS: _recent_fills,
    Channel.POSITIONS: _live_positions,
    Channel.FUNDS: _all_funds,
    Channel.SIGNALS: _recent_signals,
    Channel.RISK: _recent_risk,
}
