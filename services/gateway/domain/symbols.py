"""How people write instruments."""

import re

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId

SYMBOL = re.compile(r"[A-Z0-9&_.\-]{1,60}")
_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[A-Z&]+")


def instrument_of(symbol: str, exchange: str | None = None) -> InstrumentId | None:
    """`NSE:SBIN`, or `SBIN` with its exchange; None when that names no instrument."""
    found, colon, rest = symbol.strip().upper().partition(":")
    market, name = (found, rest) if colon else ((exchange or "").upper(), found)
    if market not in Exchange.__members__ or not SYMBOL.fullmatch(name):
        return None
    return InstrumentId(f"{market}:{name}")


def search_words(query: str) -> list[str]:
    """The words of a search, cut where letters meet digits: `nifty24000ce` asks for NIFTY, 24000 and CE."""
    return _TOKEN.findall(query.upper())[:8]
