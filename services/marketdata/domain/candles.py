"""One-minute candles by event time: the same ticks make the same candles in any order, however often each arrives and
wherever a restart cut them.

A minute holds the ticks whose exchange time lies from its first instant until just before the next. The lateness rule:
a tick belongs to its minute's candle if it was *received* less than LATENESS after the minute's end. When a tick was
received is part of the tick, so recomputing a day from stored ticks takes the same ticks as the live candle did; how
slowly a tick came through Kafka does not matter.

What was not traded yet on its day is in no candle: its ticks tell the last price of a day before.

A candle's volume is what the day's total grew by. Where an instrument's first tick of a day is of more than a minute
after the opening, we did not carry it before: of the total that this tick tells only its own last trade is counted.
Ticks alone cannot tell a later gap in which it was not carried from a restart of ours or a quiet hour: what was traded
in any of them is in the next candle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import OF_EXCHANGES, CandleClosed, Tick, is_untraded
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain.symbols import split

LATENESS = timedelta(seconds=2)
KEPT = timedelta(minutes=1)
"""For so long after its closing a minute still takes a tick that Kafka brought late, and says its candle again."""
CARRIED_WITHIN = timedelta(minutes=1)
"""What we carry when its exchange opens has ticked by so long after."""

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_DAY = 24 * 60 * _MINUTE
_IST = 330 * _MINUTE
_LATENESS = LATENESS // timedelta(microseconds=1)
_KEPT = KEPT // timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Micros = int
"""Microseconds since 1970: what a hundred thousand comparisons a second can afford."""
First = tuple[Micros, int, float, int]
"""When, the day's volume, price, last traded quantity: ticks of one instant are ordered by volume, then price, so
arrival does not matter.
"""
Last = tuple[Micros, int, float, int, int, str]
"""The same, with open interest and source."""


def micros(at: datetime) -> Micros:
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(at: Micros) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def day_of(at: Micros) -> int:
    """The number of the Indian date."""
    return (at + _IST) // _DAY


def is_late(at: Micros, received_at: Micros) -> bool:
    return received_at >= at - at % _MINUTE + _MINUTE + _LATENESS


@dataclass(slots=True)
class Bar:
    """The ticks of one minute, merged: each part is a minimum or a maximum, so order and repetition change nothing."""

    first: First
    last: Last
    high: float
    low: float
    volume: int
    """The day's total when the minute ended: volumes only grow, so the largest seen."""

    def take(self, last: Last) -> bool:
        """Whether the tick changed anything."""
        first = last[:4]
        if first < self.first:
            self.first = first
        elif last > self.last:
            self.last = last
        elif self.low <= last[2] <= self.high and last[1] <= self.volume:
            return False
        price, volume = last[2], last[1]
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        if volume > self.volume:
            self.volume = volume
        return True


class CandleBook:
    """The minutes in the making of some instruments, those closed a moment ago, and day volumes counted so far.

    `kept_from` is the first minute that it knows whole; ticks of earlier minutes do not count.
    """

    def __init__(self, kept_from: Micros = 0, counted: Mapping[InstrumentId, tuple[int, int]] | None = None) -> None:
        self.kept_from = kept_from
        self.late = 0
        """Ticks that were received too late for their candle."""
        self.missed: set[tuple[InstrumentId, Micros]] = set()
        """Minutes that lack a tick received in time, which Kafka brought more than KEPT later: to be recomputed."""
        self._closed_until: Micros = kept_from
        self._minutes: dict[Micros, dict[InstrumentId, Bar]] = {}
        self._untraded: dict[Micros, set[InstrumentId]] = {}
        """What we carried before it was traded on its day."""
        self._offsets: dict[Micros, int] = {}
        self._counted: dict[InstrumentId, tuple[int, int]] = dict(counted or {})
        self._counting = 0
        """The newest day in it."""
        self._corrected: set[tuple[Micros, InstrumentId]] = set()
        self._exchanges = TradingCalendar(MarketHours.EXCHANGE)

    def add(
        self,
        instrument: InstrumentId,
        at: Micros,
        received_at: Micros,
        price: float,
        ltq: int,
        volume: int,
        oi: int,
        source: str,
        offset: int = 0,
    ) -> None:
        """`offset` is the tick's place in the log that it comes from."""
        minute = at - at % _MINUTE
        if received_at >= minute + _MINUTE + _LATENESS:
            self.late += 1
            return
        if minute < self.kept_from:
            self.missed.add((instrument, minute))
            return
        bars = self._minutes.get(minute)
        if bars is None:
            bars = self._minutes[minute] = {}
            self._offsets[minute] = offset
        last = (at, volume, price, ltq, oi, source)
        if is_untraded(instrument, source, volume):
            changed = self._note_untraded(minute, instrument)
        elif (bar := bars.get(instrument)) is not None:
            changed = bar.take(last)
        else:
            bars[instrument] = Bar(last[:4], last, price, price, volume)
            changed = True
        if changed and minute < self._closed_until:
            self._correct(minute, instrument)

    def _note_untraded(self, minute: Micros, instrument: InstrumentId) -> bool:
        """Whether it was not known."""
        untraded = self._untraded.setdefault(minute, set())
        is_new = instrument not in untraded
        untraded.add(instrument)
        return is_new

    def add_tick(self, tick: Tick) -> None:
        at, received_at = micros(tick.at), micros(tick.received_at)
        self.add(tick.instrument, at, received_at, tick.ltp, tick.ltq, tick.volume, tick.oi, tick.source.value)

    def close(self, received_until: Micros) -> list[CandleClosed]:
        """The candles of every minute that can take no more ticks, oldest first, and those that changed since.

        Everything received before `received_until` has been added.
        """
        until = received_until - _LATENESS
        until -= until % _MINUTE
        due = self._corrected
        self._corrected = set()
        for minute in self._minutes:
            if self._closed_until <= minute < until:
                due.update((minute, instrument) for instrument in self._minutes[minute])
        candles = [self._candle(minute, instrument) for minute, instrument in sorted(due)]
        self._closed_until = max(self._closed_until, until)
        self._forget(self._closed_until - _KEPT)
        return candles

    def needs_from(self, position: int) -> int:
        """From which place of the log a new book, with this one's `kept_from`, would come to the same candles."""
        return min(self._offsets.values(), default=position)

    def _correct(self, minute: Micros, instrument: InstrumentId) -> None:
        """A closed candle changed, and so may the volume of the ones after it."""
        for other, bars in self._minutes.items():
            if minute <= other < self._closed_until and instrument in bars:
                self._corrected.add((other, instrument))

    def _forget(self, before: Micros) -> None:
        for minute in sorted(minute for minute in self._minutes if minute < before):
            day = day_of(minute)
            del self._offsets[minute]
            for instrument, bar in self._minutes.pop(minute).items():
                self._counted[instrument] = day, max(bar.volume, self._before(instrument, day) or 0)
            for instrument in self._untraded.pop(minute, ()):
                self._counted[instrument] = day, self._before(instrument, day) or 0
            if day > self._counting:
                self._begin_day(day)
        self.kept_from = max(self.kept_from, before)

    def _begin_day(self, day: int) -> None:
        """Forget those before the last: most of what ticked on them has expired after some weeks."""
        self._counted = {name: counted for name, counted in self._counted.items() if counted[0] >= day - 1}
        self._counting = day

    def _before(self, instrument: InstrumentId, day: int) -> int | None:
        """None if it has not ticked on this day."""
        counted_on, counted = self._counted.get(instrument, (day, None))
        return counted if counted_on == day else None

    def _is_carried(self, instrument: InstrumentId, minute: Micros) -> bool:
        """We had it already when it was not traded yet on the day."""
        day = day_of(minute)
        return any(instrument in names and day_of(m) == day for m, names in self._untraded.items() if m <= minute)

    def _uncarried(self, instrument: InstrumentId, bar: Bar) -> int:
        """What was traded on the day before we carried the instrument, whose first tick is in `bar`.

        Only exchanges trade without us: a feed of our own making counts what it gives.
        """
        at, volume, _, ltq = bar.first
        if FeedSource(bar.last[-1]) not in OF_EXCHANGES:
            return 0
        now = moment(at)
        session = self._exchanges.session(split(instrument)[0], self._exchanges.trading_day(now))
        if session is None or now <= session.open + CARRIED_WITHIN:
            return 0
        return max(volume - ltq, 0)

    def _candle(self, minute: Micros, instrument: InstrumentId) -> CandleClosed:
        bar = self._minutes[minute][instrument]
        day = day_of(minute)
        counted = self._before(instrument, day)
        for other, bars in self._minutes.items():
            if other < minute and instrument in bars and day_of(other) == day:
                counted = max(counted or 0, bars[instrument].volume)
        if counted is None and self._is_carried(instrument, minute):
            counted = 0
        if counted is None:
            counted = self._uncarried(instrument, bar)
        _, _, close, _, oi, source = bar.last
        return CandleClosed(
            instrument=instrument,
            start=moment(minute),
            interval_s=60,
            source=FeedSource(source),
            open=bar.first[2],
            high=bar.high,
            low=bar.low,
            close=close,
            volume=max(bar.volume - counted, 0),
            oi=oi,
        )


def candles_of(ticks: Iterable[Tick]) -> Sequence[CandleClosed]:
    """The candles of whole days of ticks, by start and instrument."""
    book = CandleBook()
    for tick in ticks:
        book.add_tick(tick)
    return book.close(2**62)
