"""The contract master, as far as people search it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.database import Connection
from services.gateway.domain.search import Query, underlyings_of
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
    "delisted": "bool",
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

_LEARN = """
    INSERT INTO instrument_words SELECT unnest($1::text[]) ON CONFLICT DO NOTHING
"""

Condition: TypeAlias = tuple[str, object]
"""SQL with at most one `$`, and the value that stands there."""

_CASH = "kind IN ('INDEX', 'EQUITY')"
_DERIVATIVE = "kind IN ('FUTURE', 'OPTION')"
_NEAREST = "expiry, underlying, strike NULLS FIRST, symbol"
"""As the index instruments_nearest has it: a broad search reads a few rows in this order and stops."""
_SHORTEST = "length(symbol), symbol"
_OF_STRIKE = "expiry, underlying, symbol"
_NUMBER = """
    $ IN (left(strike::text, length($)), to_char(expiry, 'DD'), to_char(expiry, 'FMDD'), to_char(expiry, 'YY'),
        to_char(expiry, 'YYYY'))
"""
"""A number that somebody typed beside an underlying: the beginning of a strike, or the day or year of an expiry."""
_UNDERLYINGS = """
    WITH RECURSIVE known AS (
        SELECT min(underlying) AS underlying FROM instruments
        UNION ALL
        SELECT (SELECT min(i.underlying) FROM instruments i WHERE i.underlying > k.underlying)
        FROM known k WHERE k.underlying IS NOT NULL
    )
    SELECT underlying FROM known WHERE underlying IS NOT NULL
"""
"""Distinct underlyings by as many probes of the index: some hundred, not a scan of them all."""


class Instruments:
    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._words: set[str] = set()

    def listed(self, instrument: InstrumentListed) -> None:
        row = {name: getattr(instrument, name) for name in _TYPES}
        words = _words(instrument)
        row["words"] = " ".join(sorted(words))
        self._words |= {word for word in words if len(word) > 2 and word.replace("&", "").isalpha()}
        self._rows[instrument.instrument] = row

    async def flush(self, connection: Connection) -> None:
        if self._rows:
            await connection.execute(_PUT, *columns(list(self._rows.values()), (*_TYPES, "words")))
            await connection.execute(_LEARN, sorted(self._words))


def _words(listed: InstrumentListed) -> set[str]:
    """What a share or an index is found by: the parts of its symbol and name. Contracts go by their underlying."""
    if listed.underlying:
        return {word.lower() for word in search_words(listed.underlying)}
    words = {listed.symbol, *search_words(listed.symbol), *search_words(listed.name), listed.exchange.value}
    return {word.lower() for word in words if word}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is narrowed to; None does not narrow."""

    exchange: Exchange | None = None
    kind: InstrumentKind | None = None
    underlying: str | None = None
    expiry: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None

    @property
    def may_be_cash(self) -> bool:
        narrowed = (self.underlying, self.expiry, self.strike, self.option_type)
        return self.kind not in (InstrumentKind.FUTURE, InstrumentKind.OPTION) and not any(narrowed)

    @property
    def may_be_derivative(self) -> bool:
        return self.kind not in (InstrumentKind.INDEX, InstrumentKind.EQUITY)

    def conditions(self) -> "list[Condition]":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [(f"{name} = $", value) for name, value in values.items() if value is not None]


async def search(
    database: Database, query: Query, filters: Filters, underlyings: Sequence[str], limit: int
) -> list[Row]:
    """What may be traded (and indices) that the query means.

    First the exact symbol, then symbols that begin so, then shares and indices whose words the query begins, then
    contracts of the `underlyings` that it names, the nearest expiry first; without a name, contracts of that very
    strike. Each kind is only looked for while there is room: no search sorts the whole master.
    """
    found: dict[str, Row] = {}
    for conditions, order in _stages(query, filters, underlyings):
        for row in await _select(database, [*_LISTED, *filters.conditions(), *conditions], order, limit):
            found.setdefault(row["instrument"], row)
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


_LISTED: list[Condition] = [("(tradable OR kind = 'INDEX') AND NOT delisted", None)]


Stage: TypeAlias = tuple[list[Condition], str]
"""Which rows, in which order."""


def _stages(query: Query, filters: Filters, underlyings: Sequence[str]) -> Iterator[Stage]:
    if not query.is_empty:
        yield [("symbol = $", query.symbol)], "symbol"
        if query.names and query.numbers:
            yield [("symbol LIKE $", _begins(query.symbol))], "symbol"
    if filters.may_be_cash and not query.means_a_derivative:
        if query.names:
            yield [(_CASH, None), ("symbol LIKE $", _begins(query.symbol))], _SHORTEST
        words = (*query.names, *query.numbers)
        yield [(_CASH, None), *([("words @@ $::tsquery", _tsquery(words))] if words else [])], _SHORTEST
    if filters.may_be_derivative:
        yield from _derivative_stages(query, filters, underlyings)


def _derivative_stages(query: Query, filters: Filters, underlyings: Sequence[str]) -> Iterator[Stage]:
    terms = [(_DERIVATIVE, None), *_terms(query)]
    if query.names:
        for underlying, numbers in underlyings_of(query, [filters.underlying] if filters.underlying else underlyings):
            yield [*terms, ("underlying = $", underlying), *((_NUMBER, number) for number in numbers)], _NEAREST
    elif filters.underlying:
        yield [*terms, *((_NUMBER, number) for number in query.numbers)], _NEAREST
    elif query.numbers:
        yield [*terms, ("strike = $::numeric", Decimal(query.numbers[0]))], _OF_STRIKE
    else:
        yield terms, _NEAREST if filters.strike is None else _OF_STRIKE


def _terms(query: Query) -> Iterator[Condition]:
    if query.kind:
        yield "kind = $", query.kind
    if query.option_type:
        yield "option_type = $", query.option_type
    if query.month:
        yield "extract(month FROM expiry) = $::int", query.month


async def _select(database: Database, conditions: list[Condition], order: str, limit: int) -> list[Row]:
    values = [value for condition, value in conditions if "$" in condition]
    places = iter(range(1, len(values) + 1))
    where = " AND ".join(c.replace("$", f"${next(places)}") if "$" in c else c for c, _ in conditions)
    text = f"SELECT {SHOWN} FROM instruments WHERE {where} ORDER BY {order} LIMIT {limit:d}"  # noqa: S608
    return [dict(row) for row in await database.fetch(text, *values)]


def _begins(symbol: str) -> str:
    return symbol.replace("\\", "").replace("%", "").replace("_", r"\_") + "%"


def _tsquery(words: Sequence[str]) -> str:
    """Words as the beginnings of others; a single letter would begin them all."""
    return " & ".join(f"'{word.lower()}':*" if len(word) > 1 else f"'{word.lower()}'" for word in words)


async def underlyings(database: Database) -> list[str]:
    """Every underlying that has contracts."""
    return [row[0] for row in await database.fetch(_UNDERLYINGS)]


async def count_words(database: Database) -> int:
    found: int = await database.fetchval("SELECT count(*) FROM instrument_words")
    return found


async def words(database: Database) -> list[str]:
    """What a misspelled word is compared with."""
    return [row[0] for row in await database.fetch("SELECT word FROM instrument_words")]


async def known(database: Database, instruments: Iterable[str]) -> set[InstrumentId]:
    rows = await database.fetch("SELECT instrument FROM instruments WHERE instrument = ANY($1::text[])", [*instruments])
    return {row[0] for row in rows}


async def exchanges(database: Database) -> list[Row]:
    rows = await database.fetch("SELECT exchange, count(*) AS instruments FROM instruments GROUP BY 1 ORDER BY 1")
    return [dict(row) for row in rows]


async def indices(database: Database) -> list[Row]:
    """Those of exchanges; a custom symbol is of the same kind and no index."""
    rows = await database.fetch(
        """
        SELECT instrument, exchange, symbol, name FROM instruments
        WHERE kind = 'INDEX' AND exchange <> 'CUSTOM' AND NOT delisted ORDER BY exchange DESC, symbol
        """
    )
    return [dict(row) for row in rows]
