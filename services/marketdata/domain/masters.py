"""An instrument's terms; when a broker's dump is good enough to replace the one before it, and what a difference
between two masters is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

from libs.common.contracts.enums import Exchange, InstrumentKind, OptionType, Series
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed
from libs.common.contracts.masters import MasterSource

TERMS = (
    "exchange",
    "symbol",
    "name",
    "kind",
    "underlying",
    "spot",
    "expiry",
    "strike",
    "option_type",
    "lot_size",
    "tick_size",
    "freeze_quantity",
    "price_band",
    "series",
    "monthly",
)
PUBLISHED = tuple(name for name in TERMS if name != "monthly")
"""What InstrumentListed carries; a month's mark alone is no reason to publish."""
STAGED = ("instrument", *TERMS, "token", "broker_symbol")
"""The columns of a broker's dump, in this order."""

COUNTS_CONTRACTS = (
    (MasterSource.ZERODHA, Exchange.MCX),
    (MasterSource.ZERODHA, Exchange.CDS),
    (MasterSource.ZERODHA, Exchange.BCD),
    (MasterSource.UPSTOX, Exchange.CDS),
    (MasterSource.FYERS, Exchange.CDS),
)
"""Whose lot there is 1, whatever it holds: of how many units it is others tell."""

LEAST_KEPT = 0.8
"""Of yesterday's contracts that have not expired nearly all are listed today; some far strikes come and go."""
MOST_UNREADABLE = 0.005
FEW = 50
"""A handful of contracts (an exchange's index futures) may go without the dump being broken."""


class Change(StrEnum):
    """What publishing says of an instrument besides its listing."""

    ADDED = "added"
    TERMS = "terms"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    QUIET = "quiet"
    """Nothing: a name was spelled otherwise, or a broker's master was loaded for the first time."""


@dataclass(frozen=True, slots=True)
class ExchangeCensus:
    """One exchange in a new dump: `known` contracts of the dump before that have not expired, `kept` of these in the
    new one; `staged` rows in it, `live` of them not expired."""

    exchange: str
    known: int
    kept: int
    staged: int
    live: int


def fault_of_dump(census: Sequence[ExchangeCensus], unreadable: int) -> str | None:
    """Why the dump must not replace the one before it; None when it may."""
    rows = sum(each.staged for each in census)
    if rows == 0:
        return "no instrument could be read from it"
    if unreadable > MOST_UNREADABLE * (rows + unreadable):
        return f"{unreadable} of {rows + unreadable} rows cannot be read (at most {MOST_UNREADABLE:.1%} may)"
    if not any(each.live for each in census):
        return f"all {rows} contracts in it have expired: it is an old file"
    for each in census:
        if each.known - each.kept <= FEW and each.staged:
            continue
        if each.kept < LEAST_KEPT * each.known:
            return (
                f"{each.exchange}: only {each.kept} of {each.known} contracts of the last good dump that have not"
                f" expired are in it (at least {LEAST_KEPT:.0%} must be): it looks cut short"
            )
    return None


class Terms(Protocol):
    """A row of a table of the master, wherever it is."""

    def __getitem__(self, column: str, /) -> Any: ...


def listing(terms: Terms) -> InstrumentListed:
    """The message that other services read."""
    return InstrumentListed(
        instrument=InstrumentId(terms["instrument"]),
        exchange=Exchange(terms["exchange"]),
        symbol=terms["symbol"],
        name=terms["name"] or terms["symbol"],
        kind=InstrumentKind(terms["kind"]),
        underlying=terms["underlying"],
        spot=terms["spot"],
        expiry=terms["expiry"],
        strike=None if terms["strike"] is None else Decimal(terms["strike"]),
        option_type=OptionType(terms["option_type"]) if terms["option_type"] else None,
        lot_size=terms["lot_size"],
        tick_size=Decimal(terms["tick_size"]),
        freeze_quantity=terms["freeze_quantity"],
        price_band=terms["price_band"],
        series=Series(terms["series"]) if terms["series"] else None,
        tradable=terms["tradable"],
        delisted=terms["gone_on"] is not None,
    )
