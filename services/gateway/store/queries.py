"""What clients read: pages of books, whole portfolios.

A condition that was not asked for is not in the text, so that every text has one good plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from services.gateway.domain.answers import OPEN
from services.gateway.domain.cursors import Cursor
from services.gateway.store.books import FILL_COLUMNS, SHOWN
from services.gateway.store.portfolio import POSITION_COLUMNS
from services.gateway.store.rows import Database, Row, each_of

_FILLS = ", ".join(FILL_COLUMNS)
OPEN_STATUSES = sorted(OPEN)
_NOT_DELETED = """
    NOT EXISTS (SELECT FROM entities e WHERE e.kind = 'account' AND e.entity_id = account_id AND e.deleted)
"""
"""What an account had stays in the books when it is deleted; one that is saved again after that is there again."""
_IS_SOMEBODYS = f"(quantity = 0 OR {_NOT_DELETED})"
"""What has expired and was never settled is left in an account that is deleted."""


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
    if wanted.statuses is not None:
        values.append(list(wanted.statuses))
        where.append(f"status = ANY(${len(values)}::text[])")
        if OPEN.issuperset(wanted.statuses):
            where.append("live")  # by which they are found among all that ever were
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
    where, values = _equal(
        account_id=wanted.account_id,
        user_id=wanted.user_id,
        strategy_id=wanted.strategy_id,
        instrument=wanted.instrument,
    )
    for comparison, moment in ((">=", wanted.since), ("<", wanted.until)):
        if moment is not None:
            values.append(moment)
            where.append(f"{time} {comparison} ${len(values)}")
    if before is not None:
        values += [before.at, UUID(before.id)]
        where.append(f"({time}, {identity}) < (${len(values) - 1}, ${len(values)})")
    return where, values


def _equal(**wanted: object) -> tuple[list[str], list[object]]:
    """Conditions on the columns that have a value; a caller without any is an admin who may see all."""
    given = {name: value for name, value in wanted.items() if value is not None}
    return ["true", *(f"{name} = ${place}" for place, name in enumerate(given, 1))], list(given.values())


async def order(database: Database, order_id: UUID) -> Row | None:
    row = await database.fetchrow(f"SELECT {SHOWN} FROM orders WHERE order_id = $1", order_id)  # noqa: S608
    return dict(row) if row else None


async def orders_by_id(database: Database, order_ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Those of them that there are."""
    rows = await database.fetch(f"SELECT {SHOWN} FROM orders WHERE order_id = ANY($1::uuid[])", order_ids)  # noqa: S608
    return {row["order_id"]: dict(row) for row in rows}


async def order_history(database: Database, order_id: UUID) -> list[Row]:
    text = await database.fetchval("SELECT history FROM orders WHERE order_id = $1", order_id)
    events: list[Row] = orjson.loads(f"[{(text or '').rstrip(',')}]")
    return events


async def count_open(database: Database, account_id: UUID) -> Row:
    """An order lives for a session at most, but one whose outcome nobody knows until somebody settles it."""
    row = await database.fetchrow(
        """
        SELECT (SELECT count(*) FROM orders WHERE account_id = $1 AND live) AS open_orders,
               (SELECT count(*) FROM positions WHERE account_id = $1 AND quantity <> 0) AS open_positions
        """,
        account_id,
    )
    return dict(row) if row else {}


async def positions(database: Database, user_id: UUID | None, account_id: UUID | None = None) -> list[Row]:
    """Open, or traded on the present trading day, which is as trading books it. All figures of the others are 0."""
    where, values = _equal(user_id=user_id, account_id=account_id)
    return await _positions(database, ["live", _IS_SOMEBODYS, *where], values)


async def ever_traded(database: Database, by: str, user_id: UUID | None, account_id: UUID | None) -> list[UUID]:
    """The accounts (`account_id`) or strategies (`strategy_id`) that ever had a position, but in accounts that were
    deleted. By as many probes of an index as there are: not all that was ever traded is read.
    """
    if account_id is None:
        of_user = "SELECT account_id FROM strategy_positions WHERE user_id = $1 AND strategy_id = id"
        account = "SELECT id" if by == "account_id" else f"{of_user} AND {_NOT_DELETED} LIMIT 1"
        text = _distinct(by, "user_id", account)
    elif by == "account_id":
        text = f"""
            SELECT account_id FROM (SELECT $1::uuid) AS one (account_id)
            WHERE {_NOT_DELETED} AND EXISTS (SELECT FROM positions p WHERE p.account_id = one.account_id)
        """  # noqa: S608
    else:
        text = _distinct(by, "account_id", "SELECT $1::uuid")
    return [row[0] for row in await database.fetch(text, account_id or user_id)]


def _distinct(by: str, whose: str, account: str) -> str:
    """Each value of `by` in the rows of $1 once; `account` finds one in which it stands, or that is not deleted."""
    table = "positions" if by == "account_id" else "strategy_positions"
    rest = f"FROM {table} WHERE {whose} = $1"
    return f"""
        WITH RECURSIVE known AS (
            (SELECT {by} AS id {rest} ORDER BY {by} LIMIT 1)
            UNION ALL
            SELECT (SELECT {by} {rest} AND {by} > known.id ORDER BY {by} LIMIT 1) FROM known WHERE known.id IS NOT NULL
        )
        SELECT id FROM known, LATERAL ({account}) AS traded (account_id) WHERE id IS NOT NULL AND {_NOT_DELETED}
    """  # noqa: S608 - words of our own


async def positions_since(database: Database, user_id: UUID, seq: int, most: int) -> list[Row]:
    """What changed after that number, also to be shown no more; no more than `most` of them."""
    return await _positions(database, ["user_id = $1", "seq > $2"], [user_id, seq], f"LIMIT {most:d}")


async def strategy_positions(database: Database, user_id: UUID | None, account_id: UUID | None = None) -> list[Row]:
    """Open, or with a profit of the present trading day. The figures of the others are 0."""
    where, values = _equal(user_id=user_id, account_id=account_id)
    order = "strategy_id, account_id, instrument, product"
    return await _ordered(database, "strategy_positions", ["live", _IS_SOMEBODYS, *where], values, order)


async def funds(database: Database, user_id: UUID | None, account_id: UUID | None = None) -> list[Row]:
    """Those of deleted accounts are left out: nobody can trade with them."""
    where, values = _equal(user_id=user_id, account_id=account_id)
    return await _ordered(database, "funds", [_NOT_DELETED, *where], values, "account_id")


async def _positions(database: Database, where: list[str], values: list[object], limit: str = "") -> list[Row]:
    order = f"account_id, instrument, product {limit}"
    return await _ordered(database, "positions", where, values, order, ", ".join(POSITION_COLUMNS))


async def _ordered(
    database: Database, table: str, where: list[str], values: list[object], order: str, shown: str = "*"
) -> list[Row]:
    rows = await database.fetch(
        f"SELECT {shown} FROM {table} WHERE {' AND '.join(where)} ORDER BY {order}",  # noqa: S608 - words of our own
        *values,
    )
    return await each_of(rows, dict)


async def strategy_accounts(database: Database, user_id: UUID, strategy_id: UUID) -> list[UUID]:
    """The accounts in which a strategy has traded or may have something pending, but for those that were deleted."""
    rows = await database.fetch(
        f"""
        SELECT account_id FROM strategy_positions WHERE user_id = $1 AND strategy_id = $2 AND {_NOT_DELETED}
        UNION
        SELECT account_id FROM orders WHERE user_id = $1 AND strategy_id = $2 AND live
        """,  # noqa: S608 - a condition of our own, values bound
        user_id,
        strategy_id,
    )
    return [row[0] for row in rows]


async def violations(
    database: Database, user_id: UUID | None, account_id: UUID | None, before: Cursor | None, limit: int
) -> list[Row]:
    """Denied orders, broken limits, algos that lost a leg or could not close, positions that expired and could not be
    settled, or that a split or bonus changed or should have, the newest first.
    """
    where, values = _conditions(Filter(user_id=user_id, account_id=account_id), "at", "event_id", before)
    values.append(limit)
    rows = await database.fetch(
        f"""
        SELECT event_id, user_id, account_id, type, body, at FROM risk_events
        WHERE {" AND ".join(where)}
          AND type IN ('OrderDenied', 'MTMBreached', 'LegRefused', 'SquareOffRefused', 'PositionUnsettled',
                       'PositionAdjusted', 'PositionUnadjusted')
        ORDER BY at DESC, event_id DESC LIMIT ${len(values)}
        """,  # noqa: S608 - conditions of our own, values bound
        *values,
    )
    return [dict(row) for row in rows]


_PANICS = "SELECT scope, level, epoch, reason, changed_by, changed_at FROM panics WHERE in_force"
_CONCERNS = """
    (scope = ANY(ARRAY['ALL', 'USER:' || $1::uuid]) OR CASE WHEN level IN ('ACCOUNT', 'STRATEGY') THEN EXISTS (
        SELECT FROM entities e WHERE e.user_id = $1 AND e.entity_id = split_part(scope, ':', 2)::uuid
            AND e.kind = CASE level WHEN 'ACCOUNT' THEN 'account' ELSE 'algo' END) END)
"""


async def panics_in_force(database: Database, user_id: UUID | None = None) -> list[Row]:
    """All, or those that concern this user: him, or what he has or had."""
    if user_id is None:
        rows = await database.fetch(f"{_PANICS} ORDER BY changed_at")
    else:
        rows = await database.fetch(f"{_PANICS} AND {_CONCERNS} ORDER BY changed_at", user_id)
    return [dict(row) for row in rows]


async def panics_over(database: Database, scopes: Sequence[str]) -> list[Row]:
    """Those of these scopes that are in force."""
    rows = await database.fetch(f"{_PANICS} AND scope = ANY($1::text[]) ORDER BY changed_at", list(scopes))
    return [dict(row) for row in rows]


async def square_off(database: Database, square_off_id: UUID) -> Row | None:
    row = await database.fetchrow("SELECT * FROM square_offs WHERE square_off_id = $1", square_off_id)
    return dict(row) if row else None
