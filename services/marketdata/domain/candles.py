"""One-minute candles by event time: the same ticks make the same candle in any order and however often each arrives.

A minute holds the ticks from its first instant until just before the next. It is closed once the clock is LATENESS
past its end; a tick that comes later than that is counted, is in the tick history, and is not in the candle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick
from libs.common.trading_calendar import IST

MINUTE = timedelta(minutes=1)
LATENESS = timedelta(seconds=2)

Order = tuple[datetime, int, float]


@dataclass(frozen=True, slots=True)
class Bar:
    """The ticks of one minute, merged. Merging is commutative, associative and idempotent (a semilattice join).

    Ticks of one instant are ordered by their cumulative volume, then price, so that no arrival order matters.
    """

    source: FeedSource
    first: Order
    last: Order
    high: float
    low: float
    volume: int
    """The day's total when the minute ended: volumes only grow, so the largest seen."""
    oi: int

    def merge(self, other: "Bar") -> "Bar":
        newer = self if (self.last, self.oi) >= (other.last, other.oi) else other
        return Bar(
            newer.source,
            min(self.first, other.first),
            newer.last,
            max(self.high, other.high),
            min(self.low, other.low),
            max(self.volume, other.volume),
            newer.oi,
        )


def bar_of(tick: Tick) -> Bar:
    order = (tick.at, tick.volume, tick.ltp)
    return Bar(tick.source, order, order, tick.ltp, tick.ltp, tick.volume, tick.oi)


def minute_of(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


class CandleBook:
    """The minutes in the making, and each instrument's day volume up to its last closed one."""

    def __init__(self) -> None:
        self._bars: dict[datetime, dict[InstrumentId, Bar]] = {}
        self._volumes: dict[InstrumentId, tuple[date, int]] = {}
        self._closed_until: datetime | None = None
        self.late = 0

    def know(self, volumes: Mapping[InstrumentId, int], day: date) -> None:
        """Day volumes that an earlier run counted already; they are not counted again."""
        for instrument, volume in volumes.items():
            self._volumes.setdefault(instrument, (day, volume))

    def add(self, tick: Tick) -> None:
        start = minute_of(tick.at)
        if self._closed_until is not None and start < self._closed_until:
            self.late += 1
            return
        bars = self._bars.setdefault(start, {})
        bar = bars.get(tick.instrument)
        bars[tick.instrument] = bar.merge(bar_of(tick)) if bar else bar_of(tick)

    def close(self, now: datetime) -> list[CandleClosed]:
        """The candles of every minute that has ended for good, oldest first."""
        until = minute_of(now - LATENESS)
        if self._closed_until is None or until > self._closed_until:
            self._closed_until = until
        ended = sorted(start for start in self._bars if start < until)
        return [self._candle(i, start, bar) for start in ended for i, bar in self._bars.pop(start).items()]

    def _candle(self, instrument: InstrumentId, start: datetime, bar: Bar) -> CandleClosed:
        day = start.astimezone(IST).date()
        counted_on, counted = self._volumes.get(instrument, (day, 0))
        if counted_on != day:
            counted = 0
        self._volumes[instrument] = day, max(bar.volume, counted)
        return CandleClosed(
            instrument=instrument,
            start=start,
            interval_s=60,
            source=bar.source,
            open=bar.first[2],
            high=bar.high,
            low=bar.low,
            close=bar.last[2],
            volume=max(bar.volume - counted, 0),
            oi=bar.oi,
        )
