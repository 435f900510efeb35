"""The MTM of everything that is open, as vectors: today's realised profit plus quantity x (last - average).

Rupees are floats here: a book is valued ten times a second, and what is decided on it is a threshold, not a booking.
"""

from collections.abc import Hashable, Iterable
from datetime import date, datetime, time, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from libs.common.contracts.enums import RiskLevel
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Quote
from libs.common.trading_calendar import IST
from services.risk.domain.instruments import trading_day
from services.risk.domain.ledger import Exposure

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

FIRST_SIZE = 1024
SELDOM_S = 60.0
"""A market that speaks and falls silent all the time comes back no more often than this."""


Scalar = TypeVar("Scalar", np.float64, np.intp)


def grown(column: npt.NDArray[Scalar], fill: float = 0) -> npt.NDArray[Scalar]:
    """The column with twice the room."""
    return np.concatenate([column, np.full(len(column), fill, column.dtype)])


class Prices:
    """The newest price of each instrument that anybody held. A price of 0 is no price; an old one counts as
    the last known, until a fresh one is seen, but never as fresh.
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
        self._market: Indices = np.zeros(FIRST_SIZE, np.intp)
        self._markets: dict[str, int] = {}
        self._heard: list[float] = []
        self._back: list[float] = []
        self._index: dict[InstrumentId, int] = {}

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
            if quoted >= oldest or np.isnan(last[i]):
                last[i] = quote.ltp
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

    def know(self, quote: Quote, now: datetime) -> None:
        """The price of an instrument that was not held before, from whenever it is."""
        i = self._index[quote.instrument]
        if quote.ltp > 0 and np.isnan(self.last[i]):
            self.last[i] = quote.ltp
            self.at[i] = quote.at.timestamp()
            self._began_at(i, quote, bool(self.at[i] < _midnight(trading_day(now))))

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
    def some_unknown(self) -> bool:
        return bool(np.isnan(self.last[: len(self._index)]).any())


def _midnight(today: date) -> float:
    """When the Indian day began."""
    return datetime.combine(today, time(), IST).timestamp()


class Groups:
    """The scopes of one level: which index each has, how many open positions, and what they are worth."""

    def __init__(self) -> None:
        self._index: dict[Hashable, int] = {}
        self.open: Indices = np.zeros(FIRST_SIZE, np.intp)
        self.mtm: Floats = np.zeros(0)
        self.carried: Floats = np.zeros(0)
        """What of the MTM was there when the day began: the open profit of positions from before, at that close."""
        self.unpriced: npt.NDArray[np.bool_] | None = None
        """Groups with an open position that has no price yet, or none again; None when there are none."""

    def __len__(self) -> int:
        return len(self._index)

    def index(self, scope: Hashable) -> int:
        found = self._index.get(scope)
        if found is None:
            found = self._index[scope] = len(self._index)
            if found == len(self.open):
                self.open = grown(self.open)
        return found

    def find(self, scope: Hashable) -> int | None:
        return self._index.get(scope)


class Positions:
    """Rows of positions as vectors, each belonging to one group of every level."""

    def __init__(self, prices: Prices, levels: Iterable[RiskLevel]) -> None:
        self._prices = prices
        self._rows: dict[Hashable, int] = {}
        self._versions: list[int] = []
        self._days: list[date | None] = []
        self.quantity: Floats = np.zeros(FIRST_SIZE)
        self.average: Floats = np.zeros(FIRST_SIZE)
        self.realised: Floats = np.zeros(FIRST_SIZE)
        self.instrument: Indices = np.zeros(FIRST_SIZE, np.intp)
        self.carried_quantity: Floats = np.zeros(FIRST_SIZE)
        self.carried_average: Floats = np.zeros(FIRST_SIZE)
        self._mtm: Floats = np.zeros(FIRST_SIZE)
        self._carries = 0
        self._summed = (-1, 0, 0)
        self.groups = {level: Groups() for level in levels}
        self.group = {level: np.zeros(FIRST_SIZE, np.intp) for level in self.groups}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, position: Exposure, today: date) -> None:
        """Take over a position's newest state; an older version than the one held is passed over."""
        key = (position.account_id, position.strategy_id, position.instrument, position.product)
        row = self._rows.get(key)
        if row is None:
            row = self._add(key, position)
            self._carry(row, position.carried_quantity, float(position.carried_average))
        elif position.version < self._versions[row]:
            return
        elif self._days[row] != today:
            self._carry(row, self.quantity[row], self.average[row])
        if position.pnl_day != today:
            self._carry(row, position.quantity, float(position.average_price))
        opened = int(position.quantity != 0) - int(self.quantity[row] != 0)
        if opened:
            for level, groups in self.groups.items():
                groups.open[self.group[level][row]] += opened
        self._versions[row] = position.version
        self._days[row] = position.pnl_day
        self.quantity[row] = position.quantity
        self.average[row] = position.average_price
        self.realised[row] = position.realised_pnl if position.pnl_day == today else 0

    def _carry(self, row: int, quantity: float, average: float) -> None:
        self._carries += 1
        self.carried_quantity[row] = quantity
        self.carried_average[row] = average

    def _add(self, key: Hashable, position: Exposure) -> int:
        row = self._rows[key] = len(self._rows)
        self._versions.append(-1)
        self._days.append(None)
        if row == len(self.quantity):
            self._grow()
        self.instrument[row] = self._prices.index(position.instrument)
        for level, groups in self.groups.items():
            self.group[level][row] = groups.index(scope_of(level, position))
        return row

    def _grow(self) -> None:
        self.quantity, self.average = grown(self.quantity), grown(self.average)
        self.realised, self._mtm = grown(self.realised), grown(self._mtm)
        self.carried_quantity, self.carried_average = grown(self.carried_quantity), grown(self.carried_average)
        self.instrument = grown(self.instrument)
        self.group = {level: grown(column) for level, column in self.group.items()}

    def begin_day(self, today: date) -> None:
        """Profit realised before today is yesterday's, and what is open now was carried into today."""
        for row, day in enumerate(self._days):
            if day != today:
                self.realised[row] = 0
                self._carry(row, self.quantity[row], self.average[row])

    def value(self, some_unknown: bool) -> None:
        """Value each row, and sum the rows by the groups of every level."""
        rows = len(self)
        mtm = self._mtm[:rows]
        np.take(self._prices.last, self.instrument[:rows], out=mtm, mode="clip")
        mtm -= self.average[:rows]
        mtm *= self.quantity[:rows]
        unpriced = (np.isnan(mtm) & (self.quantity[:rows] != 0)) if some_unknown else None
        if unpriced is not None:
            np.nan_to_num(mtm, copy=False, nan=0.0)
        awaited = self._prices.awaited
        if awaited is not None:
            waiting = awaited[self.instrument[:rows]] & (self.quantity[:rows] != 0)
            unpriced = waiting if unpriced is None else unpriced | waiting
        mtm += self.realised[:rows]
        for level, groups in self.groups.items():
            column = self.group[level][:rows]
            sums = np.bincount(column, weights=mtm, minlength=len(groups))
            groups.mtm = sums.astype(np.float64, copy=False)
            groups.unpriced = None
            if unpriced is not None and unpriced.any():
                groups.unpriced = np.bincount(column[unpriced], minlength=len(groups)) > 0

        self._sum_carried(rows)

    def _sum_carried(self, rows: int) -> None:
        """It changes a few times a day."""
        now = (self._prices.closes, self._carries, rows)
        if now == self._summed:
            return
        self._summed = now
        closes = np.take(self._prices.close, self.instrument[:rows], mode="clip")
        carried = np.nan_to_num((closes - self.carried_average[:rows]) * self.carried_quantity[:rows], nan=0.0)
        for level, groups in self.groups.items():
            sums = np.bincount(self.group[level][:rows], weights=carried, minlength=len(groups))
            groups.carried = sums.astype(np.float64, copy=False)

    def open_rows(self, level: RiskLevel, group: int) -> Indices:
        rows = len(self)
        return np.flatnonzero((self.group[level][:rows] == group) & (self.quantity[:rows] != 0))


def scope_of(level: RiskLevel, position: Exposure) -> Hashable:
    match level:
        case RiskLevel.INSTRUMENT:
            return position.user_id, position.account_id, position.instrument
        case RiskLevel.STRATEGY:
            return position.user_id, position.strategy_id
        case RiskLevel.ACCOUNT:
            return position.user_id, position.account_id
        case RiskLevel.USER | RiskLevel.ALL:
            return position.user_id


class Book:
    """Everything open. Instruments, accounts and users are valued on net positions, strategies on their own books."""

    def __init__(self) -> None:
        self.prices = Prices()
        self.net = Positions(self.prices, (RiskLevel.INSTRUMENT, RiskLevel.ACCOUNT, RiskLevel.USER))
        self.books = Positions(self.prices, (RiskLevel.STRATEGY,))
        self._today = date.min

    def put(self, position: Exposure, today: date) -> None:
        (self.net if position.strategy_id is None else self.books).put(position, today)

    def positions(self, level: RiskLevel) -> Positions:
        return self.books if level is RiskLevel.STRATEGY else self.net

    def revalue(self, today: date) -> None:
        """Bring the MTM of every scope up to the newest prices."""
        if today != self._today:
            if self._today != date.min:
                self.prices.begin_day(today)
            self.net.begin_day(today)
            self.books.begin_day(today)
            self._today = today
        some_unknown = self.prices.some_unknown
        self.net.value(some_unknown)
        self.books.value(some_unknown)

    def mtm(self, level: RiskLevel, scope: Hashable) -> float:
        """The MTM of one scope; 0 of one that never held anything."""
        groups = self.positions(level).groups[level]
        found = groups.find(scope)
        return 0.0 if found is None or found >= len(groups.mtm) else float(groups.mtm[found])

    def open_positions(self, level: RiskLevel, scope: Hashable) -> int:
        groups = self.positions(level).groups[level]
        found = groups.find(scope)
        return 0 if found is None else int(groups.open[found])

    def priced_at(self, level: RiskLevel, scope: Hashable) -> float | None:
        """The time of the newest price among the scope's open positions; None while one of them has no price."""
        positions = self.positions(level)
        found = positions.groups[level].find(scope)
        if found is None:
            return None
        instruments = positions.instrument[positions.open_rows(level, found)]
        if not len(instruments) or np.isnan(self.prices.last[instruments]).any():
            return None
        return float(self.prices.at[instruments].max())
