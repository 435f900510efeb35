"""The contract master, as far as people search it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType
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


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is narrowed to; None does not narrow."""

    exchange: Exchange | None = None
    kind: InstrumentKind | None = None
    underlying: str | None = None
    expiry: date | None = None
    strike: Decimal | None = None
    option_type: OptionType | None = None

    def conditions(self) -> "list[Condition]":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [(f"{name} = $", value) for name, value in values.items() if value is not None]


async def search(
    database: Database,
    query: str,
    filters: Filters,
    limit: int,
    meant: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """What may be traded (and indices) whose words begin with those of the query.

    First the exact symbol, then shares and indices, then the contracts of the underlying that is named, then others,
    the nearest expiry first. Each kind is only looked for while there is room: no search sorts the whole master.
    `meant` gives words that may stand in the place of one of the query's.
    """
    words = search_words(query)
    wanted: list[Condition] = [("(tradable OR kind = 'INDEX') AND NOT delisted", None), *filters.conditions()]
    matching = (
        [*wanted, ("words @@ $::tsquery", " & ".join(_alternatives(word, meant or {}) for word in words))]
        if words
        else wanted
    )
    derivatives: list[Condition] = [*matching, (_DERIVATIVE, None)]
    stages: list[tuple[list[Condition], str]] = [
        ([*wanted, ("symbol = $", query.strip().upper())], "symbol"),
        ([*matching, (_CASH, None)], "length(symbol), symbol"),
        ([*derivatives, ("underlying = $", _first_meant(words, meant or {}))], _NEAREST),
        (derivatives, _NEAREST),
    ]
    found: dict[str, Row] = {}
    for conditions, order in stages:
        for row in await _select(database, conditions, order, limit):
            found.setdefault(row["instrument"], row)
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


async def _select(database: Database, conditions: list[Condition], order: str, limit: int) -> list[Row]:
    values = [value for condition, value in conditions if "$" in condition]
    places = iter(range(1, len(values) + 1))
    where = " AND ".join(c.replace("$", f"${next(places)}") if "$" in c else c for c, _ in conditions)
    text = f"SELECT {SHOWN} FROM instruments WHERE {where} ORDER BY {order} LIMIT {limit:d}"  # noqa: S608
    return [dict(row) for row in await database.fetch(text, *values)]


def _alternatives(word: str, meant: Mapping[str, Sequence[str]]) -> str:
    others = meant.get(word)
    return f"({' | '.join(map(_lexeme, others))})" if others else _lexeme(word)


def _first_meant(words: Sequence[str], meant: Mapping[str, Sequence[str]]) -> str:
    if not words:
        return ""
    return meant.get(words[0], words)[0].upper()


def _lexeme(word: str) -> str:
    """A word as the beginning of one; a single letter would begin them all."""
    return f"'{word.lower()}':*" if len(word) > 1 else f"'{word.lower()}'"


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
