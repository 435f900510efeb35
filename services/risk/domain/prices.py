"""What instruments cost now, and what they cost when the day began, as vectors.

Rupees are floats here: see `mtm`.
"""

from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote, is_of_a_day_before
from libs.common.trading_calendar import IST
from services.risk.domain.instruments import trading_day

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FIRST_SIZE = 1024
SELDOM_S = 60.0
"""A market that speaks and falls silent all the time comes back no more often than this."""


Scalar = TypeVar("Scalar", np.float64, np.intp)


def grown(column: npt.NDArray[Scalar], fill: float = 0) -> npt.NDArray[Scalar]:
    """The column with twice the room."""
    return np.concatenate([column, np.full(len(column), fill, column.dtype)])


def picked(column: npt.NDArray[Scalar], rows: Indices) -> npt.NDArray[Scalar]:
    """These rows of the column, with room for more."""
    found = np.zeros(max(FIRST_SIZE, len(rows)), column.dtype)
    found[: len(rows)] = column[rows]
    return found


class Prices:
    """The newest price of each instrument that anybody held. A price of 0 is no price; an old one, as what was not
    traded yet today has, counts as the last known, until a fresh one is seen, but never as fresh.
    """

    def __init__(self) -> None:
        self.last: Floats = np.full(FIRST_SIZE, np.nan)
        self.at: Floats = np.zeros(FIRST_SIZE)
        self.close: Floats = np.full(FIRST_SIZE, np.nan)
        """What the day began with: the close of the day before."""
        self.closes = 0
        """How often one of those changed."""
        self.awaited: npt.NDArray[np.bool_] | None = None
        """Old prices that are likely to be followed by new ones at any moment; None when there are none."""
        self.expired: npt.NDArray[np.bool_] | None = None
        """Contracts that nobody quotes any more; None when there are none."""
        self._anew: dict[InstrumentId, float] = {}
        """From when on a price counts of what a split or bonus changed today: one from before is of another share."""
        self._market: Indices = np.zeros(FIRST_SIZE, np.intp)
        self._markets: dict[str, int] = {}
        self._heard: list[float] = []
        self._back: list[float] = []
        self._index: dict[InstrumentId, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def index(self, instrument: InstrumentId) -> int:
        found = self._index.get(instrument)
        if found is None:
            found = self._index[instrument] = len(self._index)
            if found == len(self.last):
                self.last = grown(self.last, np.nan)
                self.close = grown(self.close, np.nan)
                self._market = grown(self._market)
                self.at = grown(self.at)
            self._market[found] = self._market_of(instrument[:4])
        return found

    def _market_of(self, code: str) -> int:
        """`code` is how its instruments' names begin: `NSE:`, `NFO:`, `NSE_` for its indices."""
        found = self._markets.get(code)
        if found is None:
            found = self._markets[code] = len(self._markets)
            self._heard.append(-np.inf)
            self._back.append(-np.inf)
        return found

    def take(self, quotes: Iterable[Quote], now: datetime, max_age: timedelta) -> None:
        index, last, at = self._index, self.last, self.at
        oldest, midnight = (now - max_age).timestamp(), _midnight(trading_day(now))
        newest: dict[str, Quote] = {}
        for quote in quotes:
            newest[quote.instrument[:4]] = quote
            i = index.get(quote.instrument)
            if i is None or not quote.ltp > 0:
                continue
            quoted = quote.at.timestamp()
            if self._anew and self._is_of_another_share(quote, quoted):
                continue
            if quoted >= oldest or np.isnan(last[i]):
                last[i] = quote.ltp
                if not is_of_a_day_before(quote):
                    at[i] = quoted
                self._began_at(i, quote, quoted < midnight)
        for code, quote in newest.items():
            self._hear(self._market_of(code), quote.at.timestamp(), oldest, max_age.total_seconds())

    def _hear(self, market: int, at: float, oldest: float, silence: float) -> None:
        if at < oldest:
            return
        if at - self._heard[market] > silence and at - self._back[market] > SELDOM_S:
            self._back[market] = at
        self._heard[market] = max(self._heard[market], at)

    def settle(self, now: datetime, max_age: timedelta) -> None:
        """When a market opens, or its feed comes back, prices come one after the other. Until all are there, or for
        `max_age`, what is old is no price: the leg that comes first would be valued against the hedge of yesterday.
        """
        at, age = now.timestamp(), max_age.total_seconds()
        self.awaited = None
        comes_back = [at - back < age for back in self._back]
        if not any(comes_back):
            return
        waits = np.array([comes or at - heard > age for comes, heard in zip(comes_back, self._heard, strict=True)])
        known = len(self._index)
        awaited = (self.at[:known] < at - age) & waits[self._market[:known]]
        self.awaited = awaited if awaited.any() else None

    def expire(self, is_over: Callable[[InstrumentId], bool]) -> None:
        over = np.fromiter(map(is_over, self._index), bool, len(self))
        self.expired = over if over.any() else None

    def names_expired(self) -> list[InstrumentId]:
        if self.expired is None:
            return []
        return [name for name, over in zip(self._index, self.expired, strict=False) if over]

    def begin_anew(self, instruments: Iterable[InstrumentId], today: date) -> None:
        """A split or bonus changes these today: what they cost before says nothing of what they cost now, and nobody
        knows it until they are traded.
        """
        midnight = _midnight(today)
        anew = dict.fromkeys(instruments, midnight)
        for instrument in anew.keys() - {name for name, since in self._anew.items() if since == midnight}:
            i = self._index.get(instrument)
            if i is not None and self.at[i] < midnight:
                self.last[i] = self.close[i] = np.nan
                self.closes += 1
        self._anew = anew

    def _is_of_another_share(self, quote: Quote, quoted: float) -> bool:
        since = self._anew.get(quote.instrument)
        return since is not None and (quoted < since or is_of_a_day_before(quote))

    def know(self, quote: Quote, now: datetime) -> None:
        """The price of an instrument that was not held before, from whenever it is."""
        i, quoted = self._index[quote.instrument], quote.at.timestamp()
        if quote.ltp > 0 and np.isnan(self.last[i]) and not self._is_of_another_share(quote, quoted):
            self.last[i] = quote.ltp
            if not is_of_a_day_before(quote):
                self.at[i] = quoted
            self._began_at(i, quote, quoted < _midnight(trading_day(now)))

    def _began_at(self, i: int, quote: Quote, is_old: bool) -> None:
        """A source that knows no close of the day before says 0: the day begins with the first price then."""
        price = quote.ltp if is_old else quote.previous_close
        if not price > 0 and np.isnan(self.close[i]):
            price = quote.ltp
        if price > 0 and price != self.close[i]:
            self.close[i] = price
            self.closes += 1

    def begin_day(self, today: date) -> None:
        """Until the first price of today tells better, the day before closed at the last one."""
        old = self.at < _midnight(today)
        self.close[old] = self.last[old]
        self.closes += 1

    @property
    def unknown(self) -> int:
        """Of how many no price is known."""
        return int(np.isnan(self.last[: len(self._index)]).sum())

    def is_known(self, instrument: InstrumentId) -> bool:
        return not np.isnan(self.last[self._index[instrument]])


def _midnight(today: date) -> float:
    """When the Indian day began."""
    return datetime.combine(today, time(), IST).timestamp()
