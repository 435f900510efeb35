"""The newest quote of every instrument, fed by the stream."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from libs.common.contracts.enums import Exchange, FeedSource
from libs.common.contracts.market import Quote, is_old
from libs.common.trading_calendar import TradingCalendar
from services.gateway.domain.valuation import LastPrice

STALE_S = 15.0
"""Every quote is repeated within 5 s; one that is not has lost its feed."""
KEPT = timedelta(days=7)
"""How long a quote is kept that is told no more: its contract expired, or was delisted."""
LOOK_EVERY = timedelta(days=1)
AHEAD = timedelta(seconds=30)
"""A quote so far ahead of those who tell of it now was stamped by a wrong clock."""


class QuoteView:
    def __init__(self, calendar: TradingCalendar | None = None) -> None:
        self._calendar = calendar or TradingCalendar()
        self._open: dict[str, tuple[bool, float]] = {}
        self._quotes: dict[str, tuple[Quote, datetime]] = {}
        self._forgot_at: datetime | None = None
        self.heard_at: datetime | None = None
        self.source: FeedSource | None = None

    def update(self, quotes: Sequence[Quote], at: datetime) -> None:
        """What was told at a moment. Of the two roads that quotes come by, one may be behind the other: the newest
        counts, but for one of a wrong clock, which would hide all that are right.
        """
        known = self._quotes
        for quote in quotes:
            before = known.get(quote.instrument)
            is_behind = before is not None and quote.at < before[0].at <= at + AHEAD
            known[quote.instrument] = (before[0] if before and is_behind else quote, at)
        if quotes:
            self._forget(at)
            self.heard_at = at
            self.source = next((q.source for q in quotes if q.source is not FeedSource.DERIVED), self.source)

    def _forget(self, at: datetime) -> None:
        if self._forgot_at is not None and at - self._forgot_at < LOOK_EVERY:
            return
        self._forgot_at = at
        self._quotes = {name: found for name, found in self._quotes.items() if at - found[1] < KEPT}

    def last_price(self, instrument: str, now: datetime) -> LastPrice | None:
        """What a position is valued at, with the time and the staleness that its quote tells."""
        found = self._quotes.get(instrument)
        if found is None:
            return None
        quote, heard_at = found
        return LastPrice(Decimal(str(quote.ltp)), quote.at, quote.source, self._is_stale(quote, heard_at, now))

    def last_prices(self, now: datetime) -> Callable[[str], LastPrice | None]:
        return lambda instrument: self.last_price(instrument, now)

    def _is_stale(self, quote: Quote, heard_at: datetime, now: datetime) -> bool:
        return (now - heard_at).total_seconds() > STALE_S or self.is_old(quote.instrument, quote.at, now)

    def is_old(self, instrument: str, at: datetime, now: datetime) -> bool:
        """A price of that time does not stand for its market any more, however often it is repeated."""
        return is_old(at, now) and self.market_open(instrument, now)

    def show(self, instrument: str, now: datetime) -> dict[str, object] | None:
        """The quote as clients see it: with its source, its age, and whether it may not be the market's any more."""
        found = self._quotes.get(instrument)
        if found is None:
            return None
        quote, heard_at = found
        return {
            **quote.__dict__,
            "age_s": round((now - quote.at).total_seconds(), 3),
            "stale": self._is_stale(quote, heard_at, now),
            "market_open": self.market_open(instrument, now),
        }

    def market_open(self, instrument: str, now: datetime) -> bool:
        """Asked of the calendar once a second and exchange."""
        exchange, at = instrument.partition(":")[0], now.timestamp()
        known = self._open.get(exchange)
        if known is None or not 0 <= at - known[1] < 1:
            known = self._open[exchange] = self._calendar.is_open(Exchange(exchange), now), at
        return known[0]

    def newest(self, instrument: str) -> Quote | None:
        found = self._quotes.get(instrument)
        return found[0] if found else None

    def show_all(self, instruments: Iterable[str], now: datetime) -> list[dict[str, object]]:
        return [shown for instrument in instruments if (shown := self.show(instrument, now))]

    def feed(self, now: datetime) -> dict[str, object]:
        """As operators see it: its source, the age of its newest price, whether nothing that trades has a new one."""
        at = max((quote.at for quote, _ in self._quotes.values()), default=None)
        is_heard = self.heard_at is not None and (now - self.heard_at).total_seconds() <= STALE_S
        trading = [quote.at for quote, _ in self._quotes.values() if self.market_open(quote.instrument, now)]
        return {
            "source": self.source,
            "instruments": len(self._quotes),
            "age_s": None if at is None else (now - at).total_seconds(),
            "stale": not is_heard or (bool(trading) and is_old(max(trading), now)),
        }

    def __len__(self) -> int:
        return len(self._quotes)
