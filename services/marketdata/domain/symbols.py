"""OpenAlgo's symbol format: `SBIN`, `NIFTY29DEC26FUT`, `NIFTY29DEC2624000CE`, `VEDL24APR25292.5CE`."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from libs.common.contracts.enums import Exchange, OptionType
from libs.common.contracts.ids import InstrumentId

DERIVATIVE_EXCHANGES = frozenset({Exchange.NFO, Exchange.BFO, Exchange.CDS, Exchange.BCD, Exchange.MCX})

# Not strftime("%b"): a symbol must not follow the process's locale.
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DERIVATIVE = re.compile(
    rf"(?P<underlying>.+)(?P<day>\d\d)(?P<month>{'|'.join(_MONTHS)})(?P<year>\d\d)"
    r"(?:FUT|(?P<strike>\d+(?:\.\d+)?)(?P<option_type>CE|PE))"
)


@dataclass(frozen=True, slots=True)
class Spot:
    """An equity or an index."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Future:
    underlying: str
    expiry: date

    def __str__(self) -> str:
        return f"{self.underlying}{_expiry_text(self.expiry)}FUT"


@dataclass(frozen=True, slots=True)
class Option:
    underlying: str
    expiry: date
    strike: Decimal
    option_type: OptionType

    def __str__(self) -> str:
        strike = format(self.strike.normalize(), "f")
        return f"{self.underlying}{_expiry_text(self.expiry)}{strike}{self.option_type}"


Symbol = Spot | Future | Option


def parse(exchange: Exchange, text: str) -> Symbol:
    """What a symbol names. ValueError says what is wrong with it."""
    if not text or text != text.strip().upper():
        raise ValueError(f"symbol {text!r} is not written in capitals without blanks around it")
    if exchange not in DERIVATIVE_EXCHANGES:
        return Spot(text)
    found = _DERIVATIVE.fullmatch(text)
    if found is None:
        raise ValueError(f"symbol {text!r} on {exchange} is neither UNDERLYING+DDMMMYY+FUT nor …+STRIKE+CE|PE")
    expiry = date(2000 + int(found["year"]), _MONTHS.index(found["month"]) + 1, int(found["day"]))
    if found["strike"] is None:
        return Future(found["underlying"], expiry)
    return Option(found["underlying"], expiry, Decimal(found["strike"]), OptionType(found["option_type"]))


def instrument_id(exchange: Exchange, symbol: Symbol) -> InstrumentId:
    return InstrumentId(f"{exchange}:{symbol}")


def split(instrument: str) -> tuple[Exchange, str]:
    """`NSE:SBIN` → NSE, `SBIN`. ValueError when it is not EXCHANGE:SYMBOL of a known exchange."""
    exchange, colon, symbol = instrument.partition(":")
    if not colon or not symbol:
        raise ValueError(f"instrument {instrument!r} is not EXCHANGE:SYMBOL")
    return Exchange(exchange), symbol


def _expiry_text(expiry: date) -> str:
    return f"{expiry.day:02d}{_MONTHS[expiry.month - 1]}{expiry.year % 100:02d}"
