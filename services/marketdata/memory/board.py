"""The newest tick of every instrument with its day's range, and what readers have not yet been told of it."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime

from libs.common.contracts.enums import TickFault
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import OF_EXCHANGES, Depth, InstrumentListed, Quote, Tick, is_of_a_day_before
from libs.common.trading_calendar import IST
from services.marketdata.domain.ticks import (
    Bounds,
    DayRange,
    Range,
    bounds_of,
    depth_of,
    fault_of,
    opening,
    quote_of,
    range_of,
)
from services.marketdata.memory.interest import EarlierInterest
from services.marketdata.memory.watched import Watched

REPEAT_EVERY = 45
"""In how many conflations every instrument is repeated: 45 of 100 ms are less than the five seconds promised."""


class QuoteBoard:
    def __init__(self) -> None:
        self.quotes: dict[InstrumentId, Quote] = {}
        self.previous_closes: Mapping[InstrumentId, float] = {}
        self.exchange_ranges: Mapping[InstrumentId, Range] = {}
        """Of today, where the feed tells them."""
        self.contracts: Mapping[InstrumentId, InstrumentListed] = {}
        """By which prices are judged; those of unknown instruments are not."""
        self.day_starts: datetime | None = None
        """Before this moment every tick is of a day before."""
        self.earlier_oi = EarlierInterest()
        self.watched = Watched()
        self.books: dict[InstrumentId, Tick] = {}
        """The newest tick of each instrument: its depth."""
        self._latest: dict[InstrumentId, Tick] = {}
        self._times: dict[InstrumentId, datetime] = {}
        self._priced_at: dict[InstrumentId, datetime] = {}
        """Of the oldest leg of each custom symbol."""
        self._ranges: dict[InstrumentId, tuple[date, DayRange]] = {}
        self._bands: dict[InstrumentId, tuple[float, float]] = {}
        self._bounds: dict[InstrumentId, Bounds] = {}
        self._unpublished: set[InstrumentId] = set()
        self._unsaved: set[InstrumentId] = set()
        self._slots: list[list[InstrumentId]] = [[] for _ in range(REPEAT_EVERY)]
        self._turn = 0
        self._day: tuple[datetime, datetime, date] | None = None

    def restore(self, quotes: Iterable[Quote]) -> None:
        """Begin with quotes of an earlier run, which are published again until newer ones come."""
        known = list(quotes)
        self.follow(known)
        self._unpublished.update(quote.instrument for quote in known)

    def stand_by(self) -> None:
        """Another leads from now on: what we heard and did not tell is not told any more."""
        self.books.clear()
        self._latest.clear()
        self._unpublished.clear()
        self._unsaved.clear()

    def follow(self, quotes: Iterable[Quote]) -> None:
        """Take over what another told, unless something newer of the same market is known."""
        for quote in quotes:
            instrument, before = quote.instrument, self.quotes.get(quote.instrument)
            is_known = before is not None and (quote.at < before.at or quote == before)
            if before is not None and is_known and quote.source is before.source:
                continue
            day = self._day_of(quote.at)
            if before is not None and self._ranges[instrument][0] != day:
                self.earlier_oi.begin(instrument, day, before.oi)
            self._ranges[instrument] = day, range_of(quote)
            self._times[instrument] = quote.at
            self._keep(quote)

    def forget(self, instruments: Iterable[InstrumentId]) -> None:
        """Contracts that are not listed any more."""
        for instrument in instruments:
            if self.quotes.pop(instrument, None):
                self._slots[hash(instrument) % REPEAT_EVERY].remove(instrument)
            times, prices = (self._times, self._priced_at), (self._ranges, self._bounds, self._bands)
            for known in (self._latest, self.books, *times, *prices):
                known.pop(instrument, None)
            self.earlier_oi.forget(instrument)
            self._unpublished.discard(instrument)
            self._unsaved.discard(instrument)

    def take(self, tick: Tick, priced_at: datetime | None = None) -> TickFault | None:
        """Make this the newest tick of its instrument, or say why it is not fit. Its quote is of `priced_at`, where a
        price in it is older than the tick.
        """
        instrument = tick.instrument
        fault = self._fault_of(tick)
        if fault is not None:
            return fault
        day = self._day_of(tick.at)
        known = self._ranges.get(instrument)
        if known is not None and known[0] == day and not self._is_first_trade(tick):
            moved = known[1].with_price(tick.ltp)
        else:
            moved = opening(tick.ltp, self._close_before(tick))
            before = self.quotes.get(instrument)
            self.earlier_oi.begin(instrument, day, before.oi if before else tick.oi)
        told = self.exchange_ranges.get(instrument)
        self._ranges[instrument] = day, moved if told is None else moved.as_told(told)
        self._times[instrument] = tick.at
        self._latest[instrument] = self.books[instrument] = tick
        if priced_at is not None:
            self._priced_at[instrument] = priced_at
        if instrument in self.watched.instruments:
            self.watched.take(tick)
        self._unpublished.add(instrument)
        return None

    def begin_day(self, starts: datetime, contracts: Mapping[InstrumentId, InstrumentListed]) -> None:
        """Judge prices by these contracts and by the closes of the day before `starts`."""
        self.day_starts, self.contracts, self._bounds, self._bands = starts, contracts, {}, {}

    def judge_by(self, contracts: Mapping[InstrumentId, InstrumentListed]) -> None:
        """From now on today; the exchange's bands stay."""
        self.contracts, self._bounds = contracts, {}

    def limit(self, bands: Mapping[InstrumentId, tuple[float, float]]) -> None:
        """The lowest and highest prices that the exchange takes from now on today."""
        self._bands.update(bands)
        for instrument in bands:
            self._bounds.pop(instrument, None)

    def _fault_of(self, tick: Tick) -> TickFault | None:
        instrument = tick.instrument
        bounds = self._bounds.get(instrument)
        if bounds is None:
            close, band = self.previous_closes.get(instrument), self._bands.get(instrument)
            bounds = bounds_of(self.contracts.get(instrument), close, band)
            self._bounds[instrument] = bounds
        spot = self.quotes.get(bounds.spot) if bounds.spot else None
        return fault_of(tick, self._times.get(instrument), bounds, spot.ltp if spot else None, self.day_starts)

    def conflate(self) -> tuple[Quote, ...]:
        """The newest quotes of what ticked since the last call, and of those whose turn it is to be repeated."""
        changed, self._unpublished = self._unpublished, set()
        for instrument in changed & self._latest.keys():
            self._keep(self._quote_of(self._latest.pop(instrument)))
        self._turn = (self._turn + 1) % REPEAT_EVERY
        repeated = [i for i in self._slots[self._turn] if i not in changed]
        return tuple(self.quotes[i] for i in (*changed, *repeated) if i in self.quotes)

    def watched_now(self) -> tuple[list[Quote], list[Depth]]:
        """Quotes, and depths where asked for, of what clients look at and what ticked since the last call."""
        ticks = [tick for tick in self.watched.drain() if tick.instrument in self._ranges]
        quotes = [self._quote_of(tick) for tick in ticks]
        return quotes, [depth_of(tick) for tick in ticks if tick.instrument in self.watched.depths]

    def unsaved(self) -> dict[InstrumentId, Quote]:
        """Quotes that changed since they were last handed out here; give them back with `not_saved` on failure."""
        instruments, self._unsaved = self._unsaved, set()
        return {i: self.quotes[i] for i in instruments}

    def not_saved(self, instruments: Iterable[InstrumentId]) -> None:
        self._unsaved.update(i for i in instruments if i in self.quotes)

    @property
    def saved(self) -> int:
        """How many instruments have nothing to be saved."""
        return len(self.quotes) - len(self._unsaved)

    def save_again(self) -> None:
        """Hand everything out once more, as old as it is: what was saved is lost."""
        self._unsaved.update(self.quotes)
        self.earlier_oi.save_again()

    def _quote_of(self, tick: Tick) -> Quote:
        instrument = tick.instrument
        return quote_of(tick, self._ranges[instrument][1], self._priced_at.get(instrument))

    def _keep(self, quote: Quote) -> None:
        if quote.instrument not in self.quotes:
            self._slots[hash(quote.instrument) % REPEAT_EVERY].append(quote.instrument)
        self.quotes[quote.instrument] = quote
        self._unsaved.add(quote.instrument)

    def _is_first_trade(self, tick: Tick) -> bool:
        """The price before it was of a day before, and is not in the range of today."""
        before = self.books.get(tick.instrument) or self.quotes.get(tick.instrument)
        return tick.volume > 0 and before is not None and is_of_a_day_before(before)

    def _close_before(self, tick: Tick) -> float:
        """The close of the day before: the exchange's, where the feed tells it; our last price, which of what was not
        carried may be days old; what a feed of its own making begins with; or for want of all today's first price.
        """
        quote, told = self.quotes.get(tick.instrument), self.previous_closes.get(tick.instrument)
        if told is not None and (quote is None or tick.source in OF_EXCHANGES):
            return told
        return quote.ltp if quote else tick.ltp

    def _day_of(self, at: datetime) -> date:
        """The Indian date; ticks come in runs of the same minute, so the last answer is kept."""
        known = self._day
        if known is None or not known[0] <= at < known[1]:
            start = at.replace(minute=at.minute - at.minute % 30, second=0, microsecond=0)
            known = start, start.replace(minute=start.minute + 29, second=59, microsecond=999_999), _ist_date(at)
            self._day = known
        return known[2]


def _ist_date(at: datetime) -> date:
    return at.astimezone(IST).date()
