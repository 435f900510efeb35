"""Our symbols in Kite's words. Shares are the same but for NSE's series; derivatives write their expiry another way.

A share of another series than EQ bears it (MAXHEIGHTS-BE), of any day that of that day.
We write the day (NIFTY29DEC2624000CE). Kite writes a month (NIFTY26DEC24000CE) for the last expiry of a month, and
year, month's letter and day (NIFTY2612124000CE) for the weekly ones before it. Which is the last goes by the weekday
that was meant, not by the day before it on which a contract expires where that is a holiday.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta

from libs.common.contracts.enums import GROUPS_OF_BSE, Exchange, Series
from libs.common.contracts.ids import InstrumentId
from services.trading.domain.symbols import MONTHS

_DERIVATIVE = re.compile(r"(.+?)(\d{2})([A-Z]{3})(\d{2})(FUT|[\d.]+(?:CE|PE))")
_UNWRITTEN = GROUPS_OF_BSE | frozenset({Series.EQ, None})
_SERIES = re.compile(f"-(?:{'|'.join(series for series in Series if series not in _UNWRITTEN)})$")
_OF_DERIVATIVES = (Exchange.NFO, Exchange.BFO, Exchange.MCX, Exchange.CDS, Exchange.BCD)
_OF_WEEKLY_FUTURES = (Exchange.CDS, Exchange.BCD)
_TUESDAY, _THURSDAY = 1, 3
_EXPIRES_ON: Mapping[str, int] = {Exchange.NFO: _TUESDAY, Exchange.BFO: _THURSDAY}
"""By the exchanges' rules since September 2025."""


def kite_symbol(instrument: InstrumentId, series: Series | None = None) -> tuple[str, str]:
    """Exchange and tradingsymbol. A ValueError says why there is none."""
    exchange, _, symbol = instrument.partition(":")
    if exchange in (Exchange.NSE, Exchange.BSE):
        return exchange, symbol if series in _UNWRITTEN else f"{symbol}-{series}"
    found = _DERIVATIVE.fullmatch(symbol)
    if exchange not in _OF_DERIVATIVES or not found or found[3] not in MONTHS:
        raise ValueError(f"{instrument} has no symbol at zerodha that we know of")
    name, day, month, year, contract = found.groups()
    expiry = date(2000 + int(year), MONTHS.index(month) + 1, int(day))
    is_last = _is_last_of_month(exchange, expiry)
    if contract == "FUT" and not is_last and exchange in _OF_WEEKLY_FUTURES:
        raise ValueError(f"{instrument} is a weekly future, whose symbol at zerodha we do not know")
    if is_last or contract == "FUT" or exchange == Exchange.MCX:
        return exchange, f"{name}{year}{month}{contract}"
    return exchange, f"{name}{year}{'123456789OND'[expiry.month - 1]}{day}{contract}"


def without_series(exchange: str, symbol: str) -> str:
    """Whose it is, whatever its series is today."""
    return _SERIES.sub("", symbol) if exchange == Exchange.NSE else symbol


def _is_last_of_month(exchange: str, expiry: date) -> bool:
    ahead = (_EXPIRES_ON.get(exchange, expiry.weekday()) - expiry.weekday()) % 7
    meant = expiry + timedelta(days=ahead)
    return (meant + timedelta(days=7)).month != meant.month


def shown_as(instrument: InstrumentId) -> str:
    """As its positions name it, without a series. What has no symbol there keeps its own, which none of theirs is."""
    try:
        return ":".join(kite_symbol(instrument))
    except ValueError:
        return instrument
