"""What clients read: pages of books, whole portfolios, and what a WebSocket channel shows first."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from libs.common.service import Connection
from services.gateway.domain.answers import OPEN
from services.gateway.domain.cursors import Cursor
from services.gateway.store.books import FILL_COLUMNS, SHOWN
from services.gateway.store.changes import Channel
from services.gateway.store.rows import Database, Row

_FILLS = ", ".join(FILL_COLUMNS)
_OPEN = sorted(OPEN)
_RECENT = timedelta(days=1)
_FIRST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of a book; None asks for all. Either `user_id` or `account_id` is set, but for admins."""

    user_id: UUID | None = None
    account_id: UUID | None = None
    strategy_id: UUID | None = None
    statuses: Sequence[str] | None = None
    instrument: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def orders_page(database: Database, wanted: Filter, before: Cursor | None, limit: int) -> list[Row]:
    """The newest orders first. Only conditions that were asked for are in the text, so the right index is taken."""
    where, values = _conditions(wanted, "requested_at", "order_id", before)
    if wanted.statuses:
        values.append(list(wanted.statuses))
        where.append(f"status = ANY(${len(values)}::text[])")
    values.append(limit)
    rows = await database.fetch(
        f"SELECT {SHOWN} FROM orders WHERE {' AND '.join(where)} "  # noqa: S608 - conditions of our own, values bound
        f"ORDER BY requested_at DESC, order_id DESC LIMIT ${len(values)}",
        *values,
    )
    return [dict(row) for row in rows]


async def fills_page(database: Database, wanted: Filter, before: Cursor | None, limit: int) -> list[Row]:
    where, values = _conditions(wanted, "filled_at", "fill_id", before)
    values.append(limit)
    rows = await database.fetch(
        f"SELECT {_FILLS} FROM fills WHERE {' AND '.join(where)} "  # noqa: S608 - conditions of our own, values bound
        f"ORDER BY filled_at DESC, fill_id DESC LIMIT ${len(values)}",
        *values,
    )
    return [dict(row) for row in rows]


def _conditions(wanted: Filter, time: str, identity: str, before: Cursor | None) -> tuple[list[str], list[object]]:
    equal = {
        "account_id": wanted.account_id,
        "user_id": wanted.user_id,
        "strategy_id": wanted.strategy_id,
        "instrument": wanted.instrument,
    }
    where = ["true"]
    values: list[object] = []
    for name, value in equal.items():
        if value is not None:
            values.append(value)
            where.append(f"{name} = ${len(values)}")
    for comparison, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            values.append(moment)
            where.append(f"{time} {comparison} ${len(values)}")
    if before is not None:
        values += [before.at, UUID(before.id)]
        where.append(f"({time}, {identity}) < (${len(values) - 1}, ${len(values)})")
    return where, values


async def order(database: Database, order_id: UUID) -> Row | None:
    row = await database.fetchrow(f"SELECT {SHOWN} FROM orders WHERE order_id = $1", order_id)  # noqa: S608
    return dict(row) if row else None


async def order_history(database: Database, order_id: UUID) -> list[Row]:
    text = await database.fetchval("SELECT history FROM orders WHERE order_id = $1", order_id)
    events: list[Row] = orjson.loads(f"[{(text or '').rstrip(',')}]")
    return events


async def count_open(database: Database, account_id: UUID) -> Row:
    row = await database.fetchrow(
        """
        SELECT (SELECT count(*) FROM orders WHERE account_id = $1 AND requested_at > $2 AND status = ANY($3::text[]))
                   AS open_orders,
               (SELECT count(*) FROM positions WHERE account_id = $1 AND quantity <> 0) AS open_positions
        """,
        account_id,
        await database.fetchval("SELECT now() - interval '7 days'"),
        _OPEN,
    )
    return dict(row) if row else {}


async def positions(database: Database, user_id: UUID | None, account_id: UUID | None = None) -> list[Row]:
    rows = await database.fetch(
        """
        SELECT * FROM positions WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR account_id = $2)
        ORDER BY account_id, instrument, product
        """,
        user_id,
        account_id,
    )
    return [dict(row) for row in rows]


async def strategy_positions(database: Database, user_id: UUID | None, strategy_id: UUID | None = None) -> list[Row]:
    rows = await database.fetch(
        """
        SELECT * FROM strategy_positions
        WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR strategy_id = $2)
        ORDER BY strategy_id, account_id, instrument, product
        """,
        user_id,
        strategy_id,
    )
    return [dict(row) for row in rows]


async def strategy_accounts(database: Database, user_id: UUID, strategy_id: UUID) -> list[UUID]:
    """The accounts in which a strategy has traded or may have something pending."""
    rows = await database.fetch(
        """
        SELECT account_id FROM strategy_positions WHERE user_id = $1 AND strategy_id = $2
        UNION
        SELECT account_id FROM orders WHERE user_id = $1 AND strategy_id = $2 AND status = ANY($3::text[])
        """,
        user_id,
        strategy_id,
        _OPEN,
    )
    return [row[0] for row in rows]


async def funds(database: Database, user_id: UUID | None, account_id: UUID | None = None) -> list[Row]:
    rows = await database.fetch(
        """
        SELECT * FROM funds WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR account_id = $2)
        ORDER BY account_id
        """,
        user_id,
        account_id,
    )
    return [dict(row) for row in rows]


async def violations(
    database: Database, user_id: UUID | None, account_id: UUID | None, before: Cursor | None, limit: int
) -> list[Row]:
    """Denied orders and broken limits, the newest first."""
    rows = await database.fetch(
        """
        SELECT event_id, user_id, account_id, type, body, at FROM risk_events
        WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR account_id = $2)
            AND type IN ('OrderDenied', 'MTMBreached')
            AND ($3::timestamptz IS NULL OR (at, event_id) < ($3, $4::uuid))
        ORDER BY at DESC, event_id DESC LIMIT $5
        """,
        user_id,
        account_id,
        before.at if before else None,
        UUID(before.id) if before else None,
        limit,
    )
    return [dict(row) for row in rows]


async def panics_in_force(database: Database, scopes: Sequence[str] | None = None) -> list[Row]:
    rows = await database.fetch(
        """
        SELECT scope, level, epoch, reason, changed_by, changed_at FROM panics
        WHERE in_force AND ($1::text[] IS NULL OR scope = ANY($1)) ORDER BY changed_at
        """,
        None if scopes is None else list(scopes),
    )
    return [dict(row) for row in rows]


async def square_off(database: Database, square_off_id: UUID) -> Row | None:
    row = await database.fetchrow("SELECT * FROM square_offs WHERE square_off_id = $1", square_off_id)
    return dict(row) if row else None


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
    rows = await _FIRST[channel](connection, user_id, now)
    if since is None:
        return Scene(seq, rows, None)
    newer = [row for row in rows if row["seq"] > since]
    if _nothing_missing(channel, rows, newer, seq, since):
        return Scene(seq, newer, since)
    return Scene(seq, rows, None)


def _nothing_missing(channel: Channel, rows: list[Row], newer: list[Row], seq: int, since: int) -> bool:
    """Whether the rows hold every change after `since`, though old rows are left out and orders change repeatedly."""
    if channel in (Channel.POSITIONS, Channel.FUNDS) or len(newer) == seq - since:
        return True
    return len(rows) < _FIRST_ROWS and len(newer) < len(rows)


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
        _OPEN,
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


async def _all_positions(connection: Connection, user_id: UUID, _: datetime) -> list[Row]:
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
        """
        SELECT event_id, user_id, account_id, type, body, at, seq FROM risk_events
        WHERE user_id = $1 AND at > $2 ORDER BY at DESC, event_id DESC LIMIT $3
        """,
        user_id,
        now - _RECENT,
        _FIRST_ROWS,
    )
    return [dict(row) for row in reversed(rows)]


_FIRST: dict[Channel, Callable[[Connection, UUID, datetime], Awaitable[list[Row]]]] = {
    Channel.ORDERS: _recent_orders,
    Channel.FILLS: _recent_fills,
    Channel.POSITIONS: _all_positions,
    Channel.FUNDS: _all_funds,
    Channel.SIGNALS: _recent_signals,
    Channel.RISK: _recent_risk,
}
