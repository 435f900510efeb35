"""How option chains are named: `NFO:NIFTY:2026-11-24`."""

from datetime import date

from libs.common.contracts.enums import Exchange
from services.gateway.domain.symbols import SYMBOL


def chain_name(exchange: object, underlying: object, expiry: object) -> str | None:
    """The name of a chain; None when these are no exchange, symbol and date."""
    if not (isinstance(exchange, str) and isinstance(underlying, str) and isinstance(expiry, str)):
        return None
    if exchange not in Exchange.__members__ or not SYMBOL.fullmatch(underlying):
        return None
    try:
        return f"{exchange}:{underlying}:{date.fromisoformat(expiry)}"
    except ValueError:
        return None
