"""Marketdata's tables within one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import ExpiryRole, MasterSource
from libs.common.database import Connection
from libs.common.service import Store
from services.marketdata.domain.expiries import ListedExpiry
from services.marketdata.domain.masters import listing
from services.marketdata.store.contracts.custom import CorporateActions, CustomSymbols
from services.marketdata.store.contracts.downloads import Downloads
from services.marketdata.store.contracts.master import COUNTED, STATEMENT_SECONDS, Master
from services.marketdata.store.contracts.settlements import Settlements

if TYPE_CHECKING:
    from asyncpg import Record

Series = tuple[str, str, str]
"""Exchange, underlying and kind: what has a row of expiries."""

_FIND = "SELECT * FROM contracts WHERE instrument = $1"
_LISTED = "SELECT * FROM contracts WHERE gone_on IS NULL"
_LISTED_BY = """
    SELECT * FROM contracts c WHERE gone_on IS NULL AND EXISTS (
        SELECT FROM broker_contracts b WHERE b.instrument = c.instrument AND b.source = ANY($1::text[]) AND b.listed
    )
"""
_TOKENS = """
    SELECT instrument, token::bigint FROM broker_contracts
    WHERE source = $1 AND listed AND token ~ '^[0-9]{1,18}$' AND (expiry IS NULL OR expiry >= $2)
"""
_LOTS = f"""
    SELECT instrument, c.lot_size / b.lot_size FROM broker_contracts b JOIN contracts c USING (instrument)
    WHERE b.source = $1 AND c.lot_size > b.lot_size AND (b.source, b.exchange) IN ({COUNTED})
"""  # noqa: S608 - constants only
_EXPIRIES = """
    SELECT exchange, underlying, kind, expiry, bool_or(monthly) AS monthly
    FROM contracts
    WHERE gone_on IS NULL AND expiry IS NOT NULL AND ($1::text IS NULL OR underlying = $1)
    GROUP BY 1, 2, 3, 4
"""
_ROLES = "SELECT exchange, underlying, kind, role, expiry FROM expiry_roles"
_SAVE_ROLES = """
    INSERT INTO expiry_roles (exchange, underlying, kind, role, expiry)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::date[])
    ON CONFLICT (exchange, underlying, kind, role) DO UPDATE SET expiry = excluded.expiry
"""
_BROKERS = """
    SELECT source, token, broker_symbol, lot_size, tick_size, listed, seen_on FROM broker_contracts
    WHERE instrument = $1 AND token IS NOT NULL ORDER BY source
"""
_LOOK_UP = """
    SELECT source, instrument, token, broker_symbol, listed, seen_on FROM broker_contracts
    WHERE source = $1 AND ($2::text IS NULL OR token = $2) AND ($3::text IS NULL OR broker_symbol = $3)
        AND ($4::text IS NULL OR exchange = $4)
    ORDER BY listed DESC, seen_on DESC, instrument LIMIT 20
"""


class ContractStore(Store):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.master = Master(connection)
        self.downloads = Downloads(connection)
        self.settlements = Settlements(connection)
        self.custom_symbols = CustomSymbols(connection)
        self.corporate_actions = CorporateActions(connection)

    async def find(self, instrument: InstrumentId) -> InstrumentListed | None:
        """An instrument of today or of any day before: expired contracts stay known for their history."""
        row = await self.connection.fetchrow(_FIND, instrument)
        return listing(row) if row else None

    async def listed(self, of: Sequence[MasterSource] | None = None) -> list[InstrumentListed]:
        """Every contract of today, or of those only what these sources list."""
        if of is None:
            rows = await self.connection.fetch(_LISTED, timeout=STATEMENT_SECONDS)
        else:
            names = [source.value for source in of]
            rows = await self.connection.fetch(_LISTED_BY, names, timeout=STATEMENT_SECONDS)
        return await asyncio.to_thread(lambda: [listing(row) for row in rows])

    async def tokens(self, source: MasterSource, day: date) -> dict[InstrumentId, int]:
        """What a broker calls the instruments that trade on `day`; what it calls by no number is left out."""
        rows = await self.connection.fetch(_TOKENS, source.value, day, timeout=STATEMENT_SECONDS)
        return {InstrumentId(row[0]): row[1] for row in rows}

    async def lots(self, source: MasterSource) -> dict[InstrumentId, int]:
        """Units in a contract of what the broker counts in contracts; it counts what is left out in units."""
        rows = await self.connection.fetch(_LOTS, source.value, timeout=STATEMENT_SECONDS)
        return {InstrumentId(row[0]): row[1] for row in rows}

    async def expiries(self, underlying: str | None = None) -> dict[Series, list[ListedExpiry]]:
        found: dict[Series, list[ListedExpiry]] = {}
        for row in await self.connection.fetch(_EXPIRIES, underlying):
            series = (row["exchange"], row["underlying"], row["kind"])
            found.setdefault(series, []).append(ListedExpiry(row["expiry"], row["monthly"]))
        return found

    async def expiry_roles(self) -> dict[Series, dict[ExpiryRole, date]]:
        """As they were told last."""
        found: dict[Series, dict[ExpiryRole, date]] = {}
        for row in await self.connection.fetch(_ROLES):
            series = (row["exchange"], row["underlying"], row["kind"])
            found.setdefault(series, {})[ExpiryRole(row["role"])] = row["expiry"]
        return found

    async def save_roles(self, roles: Mapping[Series, Mapping[ExpiryRole, date]]) -> None:
        rows = [(*series, role.value, day) for series, own in roles.items() for role, day in own.items()]
        if rows:
            await self.connection.execute(_SAVE_ROLES, *zip(*rows, strict=True))

    async def brokers_of(self, instrument: InstrumentId) -> "list[Record]":
        """Every broker's own symbol and token of an instrument."""
        return await self.connection.fetch(_BROKERS, instrument)

    async def look_up(
        self, source: MasterSource, *, token: str | None, symbol: str | None, exchange: str | None
    ) -> "list[Record]":
        """The instruments that a broker's token or symbol means: those listed now first, as tokens are used again."""
        return await self.connection.fetch(_LOOK_UP, source.value, token, symbol, exchange)

    async def publish_pending(self, most: int, now: datetime) -> "Sequence[Record]":
        return await self.master.take_pending(most, now)
