"""The contract master, as far as people search it."""

from collections.abc import Iterable
from datetime import date

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.service import Connection
from services.gateway.domain.symbols import search_words
from services.gateway.store.rows import Database, Row, columns

_TYPES = {
    "instrument": "text",
    "exchange": "text",
    "symbol": "text",
    "name": "text",
    "kind": "text",
    "underlying": "text",
    "expiry": "date",
    "strike": "numeric",
    "option_type": "text",
    "lot_size": "bigint",
    "tick_size": "numeric",
    "freeze_quantity": "bigint",
    "price_band": "numeric",
    "tradable": "bool",
}
SHOWN = ", ".join(_TYPES)
_PUT = f"""
    INSERT INTO instruments AS i ({SHOWN}, words)
    SELECT {SHOWN}, array_to_tsvector(string_to_array(words, ' ')) FROM unnest(
        {", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES.values(), 1))}, ${len(_TYPES) + 1}::text[]
    ) AS n ({SHOWN}, words)
    ON CONFLICT (instrument) DO UPDATE SET
        {", ".join(f"{name} = excluded.{name}" for name in _TYPES)}, words = excluded.words
"""  # noqa: S608 - names of our own table

_SEARCH = f"""
    SELECT {SHOWN} FROM instruments
    WHERE tradable >= $1 AND ($2::text IS NULL OR words @@ to_tsquery('simple', $2))
        AND ($3::text IS NULL OR exchange = $3) AND ($4::text IS NULL OR kind = $4)
        AND ($5::text IS NULL OR underlying = $5) AND ($6::date IS NULL OR expiry = $6)
    ORDER BY symbol <> $7, kind NOT IN ('INDEX', 'EQUITY'), underlying IS DISTINCT FROM $8, expiry NULLS FIRST,
        kind = 'OPTION', length(symbol), strike, symbol
    LIMIT $9
"""  # noqa: S608 - names of our own table


class Instruments:
    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def listed(self, instrument: InstrumentListed) -> None:
        row = {name: getattr(instrument, name) for name in _TYPES}
        row["words"] = " ".join(sorted(_words(instrument)))
        self._rows[instrument.instrument] = row

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            await connection.execute(_PUT, *columns(list(self._rows.values()), (*_TYPES, "words")))


def _words(listed: InstrumentListed) -> set[str]:
    """What an instrument is found by: the parts of its symbol and name, its strike, the month of its expiry."""
    words = {listed.symbol, *search_words(listed.symbol), *search_words(listed.name), listed.exchange.value}
    if listed.underlying:
        words.add(listed.underlying)
    if listed.strike is not None:
        words.add(f"{listed.strike.normalize():f}")
    if listed.expiry is not None:
        words |= {f"{listed.expiry:%b}".upper(), f"{listed.expiry:%d%b%y}".upper()}
    if listed.option_type:
        words.add(listed.option_type.value)
    return {word.lower() for word in words if word}


async def search(
    database: Database,
    query: str,
    *,
    exchange: str | None,
    kind: str | None,
    underlying: str | None,
    expiry: date | None,
    limit: int,
) -> list[Row]:
    """Tradable instruments whose words begin with those of the query: an exact symbol first, near expiries next."""
    words = search_words(query)
    wanted = " & ".join(f"'{word.lower()}':*" for word in words) or None
    exact = query.strip().upper()
    first = words[0] if words else ""
    rows = await database.fetch(_SEARCH, False, wanted, exchange, kind, underlying, expiry, exact, first, limit)
    return [dict(row) for row in rows]


async def known(database: Database, instruments: Iterable[str]) -> set[InstrumentId]:
    rows = await database.fetch("SELECT instrument FROM instruments WHERE instrument = ANY($1::text[])", [*instruments])
    return {row[0] for row in rows}


async def exchanges(database: Database) -> list[Row]:
    rows = await database.fetch("SELECT exchange, count(*) AS instruments FROM instruments GROUP BY 1 ORDER BY 1")
    return [dict(row) for row in rows]
