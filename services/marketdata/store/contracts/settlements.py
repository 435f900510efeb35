"""Expired contracts, and what was told of each. Whoever writes a contract's row first tells of it, nobody else."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, InstrumentKind
from libs.common.contracts.ids import InstrumentId
from libs.common.database import Connection
from services.marketdata.domain.settlement import Expired
from services.marketdata.store.contracts.master import STATEMENT_SECONDS

if TYPE_CHECKING:
    from asyncpg import Record

LOOKS_BACK = timedelta(days=30)
"""What expired longer ago is left as it is: the day's prices will not come any more."""
LOOKS_AGAIN = timedelta(hours=1)

_UNTOLD = """
    (c.kind = 'FUTURE' OR c.kind = 'OPTION' AND c.strike IS NOT NULL AND c.option_type IS NOT NULL) AND NOT EXISTS (
        SELECT FROM settlements s WHERE s.instrument = c.instrument AND s.expiry = c.expiry
            AND (s.price IS NOT NULL OR s.looked_at > $1))
"""
_WITHDRAWN = "coalesce(c.gone_on <= c.expiry, false)"
_DUE = f"""
    SELECT c.exchange, c.expiry, c.spot, c.withdrawn, u.exchange AS spot_exchange, u.kind AS spot_kind
    FROM (SELECT DISTINCT c.exchange, c.expiry, c.spot, {_WITHDRAWN} AS withdrawn FROM contracts c
          WHERE c.expiry BETWEEN $2 AND $3 AND {_UNTOLD}) AS c
    LEFT JOIN contracts u ON u.instrument = c.spot
    ORDER BY c.expiry, c.exchange, c.spot
"""  # noqa: S608 - constants only
_CONTRACTS = f"""
    SELECT c.instrument, c.kind, c.strike, c.option_type FROM contracts c
    WHERE c.exchange = $2 AND c.expiry = $3 AND c.spot IS NOT DISTINCT FROM $4 AND {_UNTOLD}
        AND {_WITHDRAWN} = $6
    ORDER BY c.instrument LIMIT $5
"""  # noqa: S608 - constants only
_SETTLE = """
    INSERT INTO settlements (instrument, expiry, price, looked_at)
    SELECT instrument, $2::date, price, $4::timestamptz FROM unnest($1::text[], $3::numeric[]) AS n (instrument, price)
    ON CONFLICT (instrument, expiry) DO UPDATE SET price = excluded.price, looked_at = excluded.looked_at
        WHERE settlements.price IS NULL
    RETURNING instrument
"""
_LACK = """
    INSERT INTO settlements (instrument, expiry, looked_at)
    SELECT instrument, $2::date, $3::timestamptz FROM unnest($1::text[]) AS n (instrument)
    ON CONFLICT (instrument, expiry) DO UPDATE SET looked_at = excluded.looked_at WHERE settlements.price IS NULL
    RETURNING instrument, xmax = 0 AS is_new
"""


class Settlements:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def due(self, today: date, now: datetime) -> list[Expired]:
        """What expired by today and has no price yet; what lacks one is shown again after a while."""
        rows = await self._connection.fetch(
            _DUE, now - LOOKS_AGAIN, today - LOOKS_BACK, today, timeout=STATEMENT_SECONDS
        )
        return [
            Expired(
                exchange=Exchange(row["exchange"]),
                expiry=row["expiry"],
                spot=row["spot"],
                spot_exchange=Exchange(row["spot_exchange"]) if row["spot_exchange"] else None,
                spot_kind=InstrumentKind(row["spot_kind"]) if row["spot_kind"] else None,
                withdrawn=row["withdrawn"],
            )
            for row in rows
        ]

    async def contracts(self, of: Expired, most: int, now: datetime) -> "Sequence[Record]":
        """Instrument, kind, strike and option type of those that nothing was told of yet."""
        terms = (of.exchange.value, of.expiry, of.spot, most, of.withdrawn)
        return await self._connection.fetch(_CONTRACTS, now - LOOKS_AGAIN, *terms, timeout=STATEMENT_SECONDS)

    async def settle(self, expiry: date, prices: Sequence[tuple[InstrumentId, Decimal]], now: datetime) -> set[str]:
        """Those whose price this is the first word on."""
        names, values = zip(*prices, strict=True)
        return {row[0] for row in await self._connection.fetch(_SETTLE, names, expiry, values, now)}

    async def lack(self, expiry: date, instruments: Sequence[InstrumentId], now: datetime) -> set[str]:
        """Those of which it was not told before that they have no price."""
        return {row[0] for row in await self._connection.fetch(_LACK, instruments, expiry, now) if row["is_new"]}
