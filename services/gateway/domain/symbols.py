"""How people write instruments."""

import re

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId

SYMBOL = re.compile(r"[A-Z0-9&_.\-]{1,60}")
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[A-Z&]+")


def instrument_of(symbol: str, exchange: str | None = None) -> InstrumentId | None:
    """`NSE:SBIN`, or `SBIN` with its exchange; None when that names no instrument, or two exchanges."""
    found, colon, rest = symbol.strip().upper().partition(":")
    market, name = (found, rest) if colon else ((exchange or "").upper(), found)
    if market not in Exchange.__members__ or not SYMBOL.fullmatch(name):
        return None
    if exchange and market != exchange.upper():
        return None
    return InstrumentId(f"{market}:{name}")


def one_instrument(instrument: str | None, symbol: str | None, exchange: str | None) -> InstrumentId:
    """What is meant by an `instrument`, or a `symbol` and its exchange; a ValueError when it is none, or two."""
    name = instrument or symbol or ""
    found = instrument_of(name, exchange)
    if found is None and exchange and instrument_of(name):
        raise ValueError(f"instrument {name!r} is not of exchange {exchange}: send one of them")
    if found is None:
        raise ValueError(f"instrument {name!r}: write NSE:SBIN, or a symbol and its exchange")
    if instrument and symbol and instrument_of(symbol, found.partition(":")[0]) != found:
        raise ValueError(f"symbol {symbol!r} is not instrument {instrument!r}: send one of them")
    return found


def search_words(query: str) -> list[str]:
    """The words of a search, cut where letters meet digits: `nifty24000ce` asks for NIFTY, 24000 and CE."""
    return _TOKEN.findall(query.upper())[:8]
