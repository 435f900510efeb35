"""From brokers' dumps to the published master, set by set in SQL: stage, compare, merge, and hand out what changed.

A dump is staged in a table of its own transaction and judged there; only a good one replaces the broker's rows. What
the merged master changes waits in `pending_listings` until it was published, so a crash in between loses nothing.
"""

import io
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import asyncpg

from libs.common.contracts.masters import MasterSource
from libs.common.database import Connection
from services.marketdata.domain.masters import COUNTS_CONTRACTS, PUBLISHED, STAGED, TERMS, Change, ExchangeCensus
from services.marketdata.store.contracts.columns import names

if TYPE_CHECKING:
    from asyncpg import Record

STATEMENT_SECONDS = 60.0
"""A dump has some 150,000 rows; other statements end within the pool's ten seconds."""

_BEGIN = """
    SELECT pg_advisory_xact_lock(hashtext('marketdata.master')), set_config('enable_nestloop', 'off', true)
"""
"""One at a time; and every table is read as a whole, never row by row: while the planner believes that a table which
has just been filled is as empty as it was, it would compare each of 100,000 rows with each.
"""

_STAGE = f"""
    CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT {names(STAGED)} FROM broker_contracts WITH NO DATA
"""  # noqa: S608 - names of our own

_CENSUS = """
    SELECT coalesce(k.exchange, s.exchange) AS exchange, coalesce(k.known, 0) AS known, coalesce(k.kept, 0) AS kept,
        coalesce(s.staged, 0) AS staged, coalesce(s.live, 0) AS live
    FROM (
        SELECT b.exchange, count(*) AS known, count(n.instrument) AS kept
        FROM broker_contracts b LEFT JOIN staged n USING (instrument)
        WHERE b.source = $1 AND b.listed AND (b.expiry IS NULL OR b.expiry >= $2)
        GROUP BY 1
    ) k FULL JOIN (
        SELECT exchange, count(*) AS staged, count(*) FILTER (WHERE expiry IS NULL OR expiry >= $2) AS live
        FROM staged GROUP BY 1
    ) s USING (exchange)
    ORDER BY 1
"""

_OLD = names((*TERMS, "token", "broker_symbol", "listed"), "b.")
_NEW = names((*TERMS, "token", "broker_symbol", "listed"), "excluded.")
_REPLACE = f"""
    WITH missing AS (
        SELECT b.instrument, t.token IS NOT NULL AS is_renamed
        FROM broker_contracts b LEFT JOIN staged s USING (instrument)
            LEFT JOIN (SELECT DISTINCT token FROM staged) t ON t.token = b.token
        WHERE b.source = $1 AND b.listed AND s.instrument IS NULL
    ),
    noted AS (
        UPDATE broker_contracts b
        SET missing_since = coalesce(b.missing_since, $2),
            listed = $3 AND coalesce(b.missing_since, $2) >= $2 AND (b.expiry IS NULL OR b.expiry >= $2)
                AND NOT m.is_renamed
        FROM missing m WHERE b.source = $1 AND b.instrument = m.instrument
    )
    INSERT INTO broker_contracts AS b (source, {names(STAGED)}, listed, seen_on)
    SELECT $1, {names(STAGED)}, expiry IS NULL OR expiry >= $2, $2 FROM staged
    ON CONFLICT (source, instrument) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*TERMS, "token", "broker_symbol", "listed", "seen_on"))},
        missing_since = NULL
    WHERE b.missing_since IS NOT NULL OR ({_OLD}) IS DISTINCT FROM ({_NEW})
"""  # noqa: S608 - names of our own
"""A row that a dump of one day lacks is a slip of that dump more often than the end of a share, which nobody could sell
that day. A token that means another instrument now is that of a renamed one.
"""

COUNTED = ", ".join(f"('{source}', '{exchange}')" for source, exchange in COUNTS_CONTRACTS)
_OF_SEVERAL = ("lot_size", "freeze_quantity", "series", "monthly")
_MERGED = f"""
    live AS (
        SELECT * FROM broker_contracts WHERE listed AND (expiry IS NULL OR expiry >= $1)
    ),
    best AS (
        SELECT DISTINCT ON (instrument) instrument, source, {names(TERMS)} FROM live
        ORDER BY instrument, array_position($2::text[], source) NULLS LAST
    ),
    known_elsewhere AS (
        SELECT instrument, min(freeze_quantity) AS freeze_quantity, min(freeze_quantity / lot_size) AS freeze_lots,
            bool_or(monthly) AS monthly
        FROM live GROUP BY 1
    ),
    in_units AS (
        SELECT DISTINCT ON (instrument) instrument, lot_size FROM live
        WHERE (source, exchange) NOT IN ({COUNTED})
        ORDER BY instrument, array_position($2::text[], source) NULLS LAST
    ),
    series_known AS (
        SELECT DISTINCT ON (instrument) instrument, series FROM live WHERE series IS NOT NULL
        ORDER BY instrument, array_position($2::text[], source) NULLS LAST
    ),
    merged AS (
        SELECT b.instrument, {names([term for term in TERMS if term not in _OF_SEVERAL], "b.")},
            coalesce(u.lot_size, b.lot_size) AS lot_size,
            nullif(CASE WHEN u.lot_size IS NULL
                THEN coalesce(b.freeze_quantity, k.freeze_quantity) / b.lot_size * b.lot_size
                ELSE k.freeze_lots * u.lot_size END, 0) AS freeze_quantity,
            s.series,
            coalesce(b.monthly, k.monthly) AS monthly,
            b.kind <> 'INDEX' AS tradable
        FROM best b JOIN known_elsewhere k USING (instrument) LEFT JOIN series_known s USING (instrument)
            LEFT JOIN in_units u ON u.instrument = b.instrument AND (b.source, b.exchange) IN ({COUNTED})
    )
"""  # noqa: S608 - names of our own

_LIST = names(("instrument", *TERMS, "tradable"))
_COMPARE = f"""
    WITH {_MERGED},
    changed AS (
        SELECT {names(("instrument", *TERMS, "tradable"), "m.")},
            CASE
                WHEN c.instrument IS NULL OR c.gone_on IS NOT NULL THEN
                    CASE WHEN $3 AND m.exchange IN (SELECT DISTINCT exchange FROM contracts)
                    THEN '{Change.ADDED}' ELSE '{Change.QUIET}' END
                WHEN (m.lot_size, m.tick_size, m.freeze_quantity)
                    IS DISTINCT FROM (c.lot_size, c.tick_size, c.freeze_quantity) THEN '{Change.TERMS}'
                ELSE '{Change.QUIET}'
            END AS change,
            c.lot_size AS old_lot_size, c.tick_size AS old_tick_size, c.freeze_quantity AS old_freeze_quantity
        FROM merged m LEFT JOIN contracts c USING (instrument)
        WHERE c.instrument IS NULL OR c.gone_on IS NOT NULL
            OR ({names((*PUBLISHED, "tradable"), "m.")}) IS DISTINCT FROM ({names((*PUBLISHED, "tradable"), "c.")})
        UNION ALL
        SELECT {names(("instrument", *TERMS), "c.")}, false,
            CASE WHEN c.expiry < $1 THEN '{Change.EXPIRED}' ELSE '{Change.WITHDRAWN}' END, NULL, NULL, NULL
        FROM contracts c LEFT JOIN merged m USING (instrument)
        WHERE c.gone_on IS NULL AND m.instrument IS NULL
    ),
    outdated AS (
        DELETE FROM pending_listings p WHERE NOT EXISTS (SELECT FROM changed c WHERE c.instrument = p.instrument)
    )
    INSERT INTO pending_listings ({_LIST}, change, day, old_lot_size, old_tick_size, old_freeze_quantity)
    SELECT {_LIST}, change, $1, old_lot_size, old_tick_size, old_freeze_quantity FROM changed
    ON CONFLICT (instrument) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in (*TERMS, "tradable", "change", "day"))},
        old_lot_size = excluded.old_lot_size, old_tick_size = excluded.old_tick_size,
        old_freeze_quantity = excluded.old_freeze_quantity
"""  # noqa: S608 - names of our own

_MONTHS = f"""
    WITH {_MERGED}
    UPDATE contracts c SET monthly = m.monthly
    FROM merged m WHERE m.instrument = c.instrument AND m.monthly IS DISTINCT FROM c.monthly
"""  # noqa: S608 - names of our own

_TAKE = f"""
    WITH taken AS (
        DELETE FROM pending_listings WHERE ctid = ANY(ARRAY(SELECT ctid FROM pending_listings LIMIT $1))
        RETURNING *
    ),
    saved AS (
        INSERT INTO contracts ({_LIST}, gone_on, published_at)
        SELECT {_LIST}, CASE WHEN change IN ('{Change.EXPIRED}', '{Change.WITHDRAWN}') THEN day END, $2 FROM taken
        ON CONFLICT (instrument) DO UPDATE SET
            {", ".join(f"{name} = excluded.{name}" for name in (*TERMS, "tradable", "gone_on", "published_at"))}
    )
    SELECT *, CASE WHEN change IN ('{Change.EXPIRED}', '{Change.WITHDRAWN}') THEN day END AS gone_on FROM taken
"""  # noqa: S608 - names of our own


class DumpUnfit(ValueError):
    """A row of it is of a kind that no table takes, such as a name with a zero byte; says which."""


class Master:
    """The tables `broker_contracts`, `pending_listings` and `contracts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def stage(self, rows: bytes) -> None:
        """Put a dump (CSV of STAGED, no header) into a table that lives as long as this transaction. DumpUnfit."""
        await self._connection.execute(_BEGIN, timeout=STATEMENT_SECONDS)
        await self._connection.execute(_STAGE)
        try:
            await self._connection.copy_to_table(
                "staged", source=io.BytesIO(rows), columns=STAGED, format="csv", timeout=STATEMENT_SECONDS
            )
        except asyncpg.DataError as error:
            raise DumpUnfit(f"PostgreSQL refuses a row: {error}") from error

    async def census(self, source: MasterSource, day: date) -> list[ExchangeCensus]:
        """The staged dump beside the broker's dump before it, by exchange."""
        rows = await self._connection.fetch(_CENSUS, source.value, day, timeout=STATEMENT_SECONDS)
        return [ExchangeCensus(**dict(row)) for row in rows]

    async def replace(self, source: MasterSource, day: date) -> None:
        """Make the staged dump the broker's. What was missing in that of a day before, too, stays known, as not listed;
        what the feed lists no more is so at once.
        """
        is_patient = source is not MasterSource.FEED
        await self._connection.execute(_REPLACE, source.value, day, is_patient, timeout=STATEMENT_SECONDS)

    async def compare(self, day: date, precedence: Sequence[MasterSource], *, announce: bool) -> None:
        """Note what publishing must say to turn the published master into the merged one of `day`.

        Of two brokers' terms for one instrument those of the first in `precedence` count. Without `announce` new
        contracts are listed but are no news: the first load of a broker is not a day's change.
        """
        order = [source.value for source in precedence]
        await self._connection.execute(_BEGIN, timeout=STATEMENT_SECONDS)
        await self._connection.execute(_COMPARE, day, order, announce, timeout=STATEMENT_SECONDS)
        await self._connection.execute(_MONTHS, day, order, timeout=STATEMENT_SECONDS)

    async def take_pending(self, most: int, now: datetime) -> "list[Record]":
        """Up to `most` changes, which are published master from now on."""
        return await self._connection.fetch(_TAKE, most, now, timeout=STATEMENT_SECONDS)
