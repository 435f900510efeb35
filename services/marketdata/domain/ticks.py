"""Which ticks are fit to be passed on, and the day's range that they make."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite

from libs.common.contracts.enums import Exchange
from libs.common.contracts.market import Depth, Quote, Tick

_CUSTOM = f"{Exchange.CUSTOM}:"


class TickFault(StrEnum):
    """Why a tick is counted and not passed on."""

    PRICE = "price"
    """Zero, negative or not a number."""
    CROSSED = "crossed"
    """A bid above the ask."""
    OUT_OF_ORDER = "out_of_order"
    """Older than the one before it, or the same moment again."""


def fault_of(tick: Tick, previous: datetime | None) -> TickFault | None:
    """What is wrong with `tick`, given the exchange time of the instrument's last good one.

    A custom symbol is a difference of prices as often as a sum, so its own may be negative.
    """
    if not isfinite(tick.ltp):
        return TickFault.PRICE
    if not (tick.ltp > 0 and tick.bid >= 0 and tick.ask >= 0) and not tick.instrument.startswith(_CUSTOM):
        return TickFault.PRICE
    if tick.bid and tick.ask and tick.bid > tick.ask:
        return TickFault.CROSSED
    if previous is not None and tick.at <= previous:
        return TickFault.OUT_OF_ORDER
    return None


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


def opening(price: float, previous_close: float) -> DayRange:
    """A day that starts with `price`."""
    return DayRange(price, price, price, previous_close)


def range_of(quote: Quote) -> DayRange:
    return DayRange(quote.open, quote.high, quote.low, quote.previous_close)


def quote_of(tick: Tick, day: DayRange) -> Quote:
    return Quote(
        instrument=tick.instrument,
        at=tick.at,
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
