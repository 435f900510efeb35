"""Custom symbols, as their users saved them; and corporate actions."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms, CustomSymbol, MasterSource
from libs.common.database import Connection
from services.marketdata.domain import custom
from services.marketdata.domain.corporate_actions import CorporateAction, Told, key_of

if TYPE_CHECKING:
    from asyncpg import Record

_PUT = """
    INSERT INTO custom_symbols (custom_symbol_id, user_id, symbol, body, version) VALUES ($1, $2, $3, $4::jsonb, $5)
    ON CONFLICT (custom_symbol_id) DO UPDATE
    SET symbol = excluded.symbol, body = excluded.body, version = excluded.version
"""
_LISTED = """
    SELECT instrument FROM contracts WHERE instrument = ANY($1::text[]) AND gone_on IS NULL
"""
_LIST = """
    INSERT INTO broker_contracts
        (source, instrument, exchange, symbol, name, kind, lot_size, tick_size, listed, seen_on)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, $9)
    ON CONFLICT (source, instrument) DO UPDATE
    SET name = excluded.name, tick_size = excluded.tick_size, listed = true, seen_on = excluded.seen_on
"""
_PUBLISH = """
    INSERT INTO contracts
        (instrument, exchange, symbol, name, kind, lot_size, tick_size, tradable, published_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8)
    ON CONFLICT (instrument) DO UPDATE
    SET name = excluded.name, tick_size = excluded.tick_size, gone_on = NULL, published_at = excluded.published_at
"""
_GONE = "UPDATE contracts SET gone_on = $2 WHERE instrument = $1"
_UNLIST = "UPDATE broker_contracts SET listed = false WHERE source = $1 AND instrument = $2"
_PUT_ACTIONS = """
    INSERT INTO corporate_actions (instrument, ex_date, kind, old, new, amount, imported_at)
    SELECT *, $7::timestamptz FROM unnest($1::text[], $2::date[], $3::text[], $4::int[], $5::int[], $6::numeric[])
    ON CONFLICT (instrument, ex_date, kind) DO UPDATE
    SET old = excluded.old, new = excluded.new, amount = excluded.amount, imported_at = excluded.imported_at
"""
_KEPT_ACTIONS = """
    SELECT instrument, ex_date, kind FROM corporate_actions
    WHERE (instrument, ex_date, kind) IN (SELECT * FROM unnest($1::text[], $2::date[], $3::text[]))
"""
_DROP_ACTIONS = """
    DELETE FROM corporate_actions
    WHERE (instrument, ex_date, kind) IN (SELECT * FROM unnest($1::text[], $2::date[], $3::text[]))
"""


class CustomSymbols:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self) -> list[CustomSymbol]:
        rows = await self._connection.fetch("SELECT body FROM custom_symbols ORDER BY symbol")
        return [CustomSymbol.model_validate_json(row[0]) for row in rows]

    async def find(self, custom_symbol_id: UUID) -> "tuple[CustomSymbol, int] | None":
        """The symbol and its version, locked."""
        row = await self._connection.fetchrow(
            "SELECT body, version FROM custom_symbols WHERE custom_symbol_id = $1 FOR UPDATE", custom_symbol_id
        )
        return (CustomSymbol.model_validate_json(row["body"]), row["version"]) if row else None

    async def is_taken(self, symbol: str, by_other_than: UUID) -> bool:
        found = await self._connection.fetchval("SELECT custom_symbol_id FROM custom_symbols WHERE symbol = $1", symbol)
        return found is not None and found != by_other_than

    async def listed(self, instruments: Sequence[InstrumentId]) -> set[InstrumentId]:
        """Which of these are in today's master."""
        return {row[0] for row in await self._connection.fetch(_LISTED, instruments)}

    async def save(self, symbol: CustomSymbol, version: int, now: datetime) -> None:
        """Keep it, and list it in the master: the caller says its listing."""
        await self._connection.execute(
            _PUT, symbol.custom_symbol_id, symbol.user_id, symbol.symbol, symbol.model_dump_json(), version
        )
        listing = custom.listed(symbol)
        terms = (
            listing.instrument,
            listing.exchange.value,
            listing.symbol,
            listing.name,
            listing.kind.value,
            listing.lot_size,
            listing.tick_size,
        )
        await self._connection.execute(_LIST, MasterSource.CUSTOM.value, *terms, now.date())
        await self._connection.execute(_PUBLISH, *terms, now)

    async def delete(self, symbol: CustomSymbol, now: datetime) -> None:
        await self._connection.execute(
            "DELETE FROM custom_symbols WHERE custom_symbol_id = $1", symbol.custom_symbol_id
        )
        await self._connection.execute(_UNLIST, MasterSource.CUSTOM.value, symbol.instrument)
        await self._connection.execute(_GONE, symbol.instrument, now.date())


class CorporateActions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def save(self, actions: Sequence[CorporateActionTerms], now: datetime) -> None:
        """Keep these, and those that are withdrawn no more."""
        rows = {key_of(a): (a.old, a.new, a.amount) for a in actions if not a.withdrawn}
        if rows:
            columns = zip(*((*key, *terms) for key, terms in rows.items()), strict=True)
            await self._connection.execute(_PUT_ACTIONS, *columns, now)
        withdrawn = [key_of(a) for a in actions if a.withdrawn]
        if withdrawn:
            await self._connection.execute(_DROP_ACTIONS, *zip(*withdrawn, strict=True))

    async def kept(self, among: Iterable[Told]) -> set[Told]:
        """Which of these are kept."""
        names = list(among)
        if not names:
            return set()
        rows = await self._connection.fetch(_KEPT_ACTIONS, *zip(*names, strict=True))
        return {(InstrumentId(row[0]), row[1], CorporateActionKind(row[2])) for row in rows}

    async def of(self, instrument: InstrumentId) -> list[CorporateAction]:
        """An instrument's actions, the earliest first."""
        rows = await self._connection.fetch(
            "SELECT * FROM corporate_actions WHERE instrument = $1 ORDER BY ex_date, kind", instrument
        )
        return [_action(row) for row in rows]


def _action(row: "Record") -> CorporateAction:
    return CorporateAction(
        CorporateActionKind(row["kind"]), row["ex_date"], row["old"], row["new"], float(row["amount"])
    )
