"""The candle lengths that history knows, and where their grid begins.

Every length is counted from the session's first minute, 09:15 IST on the stock exchanges, so that the first hour is
09:15-10:15. Currencies and commodities begin at 09:00. India has no summer time, so a grid is a fixed offset in UTC.
"""

from datetime import time, timedelta
from enum import StrEnum

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId

_MIDNIGHT = time(0, 0)


class Interval(StrEnum):
    TICK = "tick"
    """The ticks themselves; kept for days, not for years."""
    ONE_MINUTE = "1m"
    THREE_MINUTES = "3m"
    FIVE_MINUTES = "5m"
    TEN_MINUTES = "10m"
    FIFTEEN_MINUTES = "15m"
    THIRTY_MINUTES = "30m"
    ONE_HOUR = "1h"
    ONE_DAY = "1d"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]


_LENGTHS = {
    Interval.TICK: timedelta(seconds=1),
    Interval.ONE_MINUTE: timedelta(minutes=1),
    Interval.THREE_MINUTES: timedelta(minutes=3),
    Interval.FIVE_MINUTES: timedelta(minutes=5),
    Interval.TEN_MINUTES: timedelta(minutes=10),
    Interval.FIFTEEN_MINUTES: timedelta(minutes=15),
    Interval.THIRTY_MINUTES: timedelta(minutes=30),
    Interval.ONE_HOUR: timedelta(hours=1),
    Interval.ONE_DAY: timedelta(days=1),
}
SUMMED = tuple(each for each in Interval if each.length > timedelta(minutes=1))
"""The lengths that are added up from one-minute candles."""

STOCKS_OPEN = time(9, 15)
OTHERS_OPEN = time(9, 0)
OPEN_AT_NINE = frozenset({Exchange.CDS, Exchange.BCD, Exchange.MCX})


def opens_at(instrument: InstrumentId) -> time:
    """The time of the Indian day from which the exchange's candles are counted."""
    return OTHERS_OPEN if instrument.partition(":")[0] in OPEN_AT_NINE else STOCKS_OPEN


def grid_offset(interval: Interval, opens: time) -> timedelta:
    """How far after a whole multiple of `interval` since 00:00 UTC its candles begin. A day is the Indian date."""
    begins = _MIDNIGHT if interval is Interval.ONE_DAY else opens
    seconds = timedelta(hours=begins.hour, minutes=begins.minute) - timedelta(hours=5, minutes=30)
    return seconds % interval.length
