"""Which ticks are fit to be passed on, and the day's range that they make."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, isfinite

from libs.common.contracts.enums import Exchange, OptionType, TickFault
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Depth, InstrumentListed, Quote, Tick

_CUSTOM = f"{Exchange.CUSTOM}:"
CLOCKS_DIFFER = timedelta(seconds=5)
"""By how much an exchange's clock may be ahead of ours."""
ABOVE_SPOT = 1.05
"""A call gives a right to its underlying; its price may be seen a moment after the underlying's has moved."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an instrument can cost today: the exchange's price band, the strike of a put, the underlying of a call."""

    low: float = 0.0
    high: float = inf
    spot: InstrumentId | None = None


ANY_PRICE = Bounds()


def bounds_of(
    contract: InstrumentListed | None, previous_close: float | None, band: tuple[float, float] | None = None
) -> Bounds:
    """By the `band` in force where it is known, else by that of the contract around the close of the day before: half
    a tick wider, since exchanges round to the tick.
    """
    low, high = band or (0.0, inf)
    if contract is None:
        return Bounds(low, high)
    if band is None and contract.price_band is not None and previous_close:
        reach = previous_close * float(contract.price_band) + float(contract.tick_size) / 2
        low, high = previous_close - reach, previous_close + reach
    if contract.option_type is OptionType.PE and contract.strike is not None:
        high = min(high, float(contract.strike))
    return Bounds(low, high, contract.spot if contract.option_type is OptionType.CE else None)


def fault_of(
    tick: Tick,
    previous: datetime | None,
    bounds: Bounds = ANY_PRICE,
    spot: float | None = None,
    day_starts: datetime | None = None,
) -> TickFault | None:
    """What is wrong with `tick`, given the exchange time of the instrument's last good one and its underlying's price.

    A custom symbol is a difference of prices as often as a sum, so its own may be negative.
    """
    if not isfinite(tick.ltp):
        return TickFault.PRICE
    if not (tick.ltp > 0 and tick.bid >= 0 and tick.ask >= 0) and not tick.instrument.startswith(_CUSTOM):
        return TickFault.PRICE
    if tick.bid and tick.ask and tick.bid > tick.ask:
        return TickFault.CROSSED
    outside = not bounds.low <= tick.ltp <= bounds.high or (spot is not None and tick.ltp > spot * ABOVE_SPOT)
    if outside and not tick.instrument.startswith(_CUSTOM):
        return TickFault.BAND
    if day_starts is not None and tick.at < day_starts:
        return TickFault.OLD_DAY
    if tick.at > tick.received_at + CLOCKS_DIFFER:
        return TickFault.FUTURE
    if previous is not None and tick.at <= previous:
        return TickFault.OUT_OF_ORDER
    return None


Range = tuple[float, float, float]
"""Open, high and low of the trading day so far, as the exchange tells them."""


@dataclass(frozen=True, slots=True)
class DayRange:
    """Open, high and low of the trading day so far, and the last price of the day before."""

    open: float
    high: float
    low: float
    previous_close: float

    def with_price(self, price: float) -> "DayRange":
        if self.low <= price <= self.high:
            return self
        return DayRange(self.open, max(self.high, price), min(self.low, price), self.previous_close)

    def as_told(self, told: Range) -> "DayRange":
        """The exchange knows what it began with, and the whole day: we may have begun to listen at noon."""
        opened, high, low = told[0], max(self.high, told[1]), min(self.low, told[2])
        if (opened, high, low) == (self.open, self.high, self.low):
            return self
        return DayRange(opened, high, low, self.previous_close)


def opening(price: float, previous_close: float) -> DayRange:
    """A day that starts with `price`."""
    return DayRange(price, price, price, previous_close)


def range_of(quote: Quote) -> DayRange:
    return DayRange(quote.open, quote.high, quote.low, quote.previous_close)


def quote_of(tick: Tick, day: DayRange, at: datetime | None = None) -> Quote:
    """Of the tick's own time, or of `at`."""
    return Quote(
        instrument=tick.instrument,
        at=tick.at if at is None else at,
        source=tick.source,
        ltp=tick.ltp,
        bid=tick.bid,
        ask=tick.ask,
        bid_quantity=tick.bid_quantity,
        ask_quantity=tick.ask_quantity,
        open=day.open,
        high=day.high,
        low=day.low,
        previous_close=day.previous_close,
        volume=tick.volume,
        oi=tick.oi,
    )


def depth_of(tick: Tick) -> Depth:
    return Depth(instrument=tick.instrument, at=tick.at, source=tick.source, bids=tick.bids, asks=tick.asks)
