"""Option chains: every strike of one underlying and expiry, with implied volatility and Greeks.

Units are those that traders read: `iv` in per cent a year, theta for one calendar day, vega and rho for one percentage
point of volatility or rate, all of them for one unit of the underlying.
"""

from datetime import date, datetime
from enum import StrEnum

from libs.common.contracts.base import Event, Value
from libs.common.contracts.enums import Exchange, FeedSource
from libs.common.contracts.ids import InstrumentId


class IvStanding(StrEnum):
    """What is known of an option's volatility; unless KNOWN, `iv` is null."""

    KNOWN = "KNOWN"
    NO_PRICE = "NO_PRICE"
    """The option or its underlying has no price: no Greeks."""
    EXPIRED = "EXPIRED"
    INTRINSIC = "INTRINSIC"
    """The price is at or below the intrinsic value: the Greeks are those of a certain outcome."""
    ABOVE_BOUND = "ABOVE_BOUND"
    """The price is above any that a volatility explains: no Greeks."""


class PricingModel(StrEnum):
    BLACK_76 = "BLACK_76"
    """On the future of the same expiry; delta and gamma are to the future."""
    BLACK_SCHOLES_MERTON = "BLACK_SCHOLES_MERTON"
    """On the spot, with a dividend yield."""


class OptionQuote(Value):
    """One side of a strike. `ltp` is null until a quote was heard; `oi_change` is since the day before.

    `stale`: nothing newer came for a minute while its market trades.
    """

    instrument: InstrumentId
    at: datetime | None = None
    source: FeedSource | None = None
    ltp: float | None = None
    stale: bool = False
    bid: float = 0.0
    ask: float = 0.0
    bid_quantity: int = 0
    ask_quantity: int = 0
    volume: int = 0
    oi: int = 0
    oi_change: int | None = None
    iv: float | None = None
    standing: IvStanding = IvStanding.NO_PRICE
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    rho: float | None = None


class ChainRow(Value):
    strike: float
    call: OptionQuote | None = None
    put: OptionQuote | None = None


class OptionChain(Event):
    """What heads a chain, and rows in order of their strikes.

    `at` is when it was worked out, `quoted_at` the newest price in it, `underlying_at` that of the underlying, and
    `underlying_source` where that price comes from. `stale`: nothing newer came of the underlying, or of the spot, for
    a minute while the options trade, so Greeks, or the strike at the money, may not be those of now. `pcr` is put over
    call open interest, `max_pain` the strike at which the writers of all open options pay least; null without open
    interest.
    """

    chain: str
    """`NFO:NIFTY:2026-11-24`"""
    exchange: Exchange
    underlying: str
    expiry: date
    expires_at: datetime
    minutes_to_expiry: int
    at: datetime
    quoted_at: datetime | None
    market_open: bool
    lot_size: int
    model: PricingModel | None
    priced_on: InstrumentId | None
    """The instrument whose price the Greeks are worked out on."""
    underlying_price: float | None
    underlying_at: datetime | None = None
    underlying_source: FeedSource | None = None
    stale: bool = False
    spot: InstrumentId | None
    spot_price: float | None
    spot_source: FeedSource | None = None
    rate: float
    dividend_yield: float
    atm_strike: float | None
    pcr: float | None
    pcr_volume: float | None
    max_pain: float | None
    call_oi: int
    put_oi: int
    rows: tuple[ChainRow, ...]


class ChainConflated(OptionChain):
    """A chain somebody watches: the rows that changed since the last one, or all of them (`full`)."""

    full: bool
