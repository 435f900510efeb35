"""The MTM of everything that is open, as vectors: today's realised profit plus quantity x (last - average).

Rupees are floats here: a book is valued ten times a second, and what is decided on it is a threshold, not a booking.
"""

from collections.abc import Hashable, Iterable
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from libs.common.contracts.enums import RiskLevel
from services.risk.domain.ledger import Exposure, opened
from services.risk.domain.prices import FIRST_SIZE, Floats, Indices, Prices, grown, picked


class Groups:
    """The scopes of one level: which index each has, how many open positions, and what they are worth."""

    def __init__(self) -> None:
        self._index: dict[Hashable, int] = {}
        self.open: Indices = np.zeros(FIRST_SIZE, np.intp)
        self.kept: Indices = np.zeros(FIRST_SIZE, np.intp)
        """How many of them were opened before the day began."""
        self.mtm: Floats = np.zeros(0)
        self.carried: Floats = np.zeros(0)
        """What of the MTM was there when the day began: the open profit of positions from before, at that close."""
        self.unpriced: npt.NDArray[np.bool_] | None = None
        """Groups with an open position that has no price yet, or none again; None when there are none."""
        self.over: Indices | None = None
        """How many of the open positions are in what has expired; None when there are none."""

    def __len__(self) -> int:
        return len(self._index)

    @property
    def held(self) -> Indices:
        """How many open positions each has that can be closed."""
        held = self.open[: len(self)]
        return held if self.over is None else held - self.over

    def index(self, scope: Hashable) -> int:
        found = self._index.get(scope)
        if found is None:
            found = self._index[scope] = len(self._index)
            if found == len(self.open):
                self.open, self.kept = grown(self.open), grown(self.kept)
        return found

    def find(self, scope: Hashable) -> int | None:
        return self._index.get(scope)

    def keep(self, groups: Indices) -> None:
        """Forget all but these."""
        scopes = list(self._index)
        self._index = {scopes[group]: n for n, group in enumerate(groups)}
        self.open, self.kept = picked(self.open, groups), picked(self.kept, groups)


class Positions:
    """Rows of positions as vectors, each belonging to one group of every level."""

    def __init__(self, prices: Prices, levels: Iterable[RiskLevel]) -> None:
        self._prices = prices
        self._rows: dict[Hashable, int] = {}
        self._versions: list[int] = []
        self._days: list[date | None] = []
        self._opened_on: list[date | None] = []
        self.quantity: Floats = np.zeros(FIRST_SIZE)
        self.average: Floats = np.zeros(FIRST_SIZE)
        self.realised: Floats = np.zeros(FIRST_SIZE)
        self.instrument: Indices = np.zeros(FIRST_SIZE, np.intp)
        self.carried_quantity: Floats = np.zeros(FIRST_SIZE)
        self.carried_average: Floats = np.zeros(FIRST_SIZE)
        self._mtm: Floats = np.zeros(FIRST_SIZE)
        self._carries = 0
        self._summed = (-1, 0, 0, 0)
        self.groups = {level: Groups() for level in levels}
        self.group = {level: np.zeros(FIRST_SIZE, np.intp) for level in self.groups}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, position: Exposure, today: date) -> bool:
        """Take over a position's newest state; an older version than the one held is passed over.

        Whether it was not known before.
        """
        key = (position.account_id, position.strategy_id, position.instrument, position.product)
        row = self._rows.get(key)
        if row is None:
            row = self._add(key, position)
            self._carry(row, *_carried(position))
        elif position.version < self._versions[row]:
            return False
        elif self._days[row] != today:
            self._carry(row, self.quantity[row], self.average[row])
        self._carry_into(today, row, position)
        opened_on = self._opened(row, position)
        held = int(position.quantity != 0) - int(self.quantity[row] != 0)
        kept = int(_is_before(opened_on, today)) - int(_is_before(self._opened_on[row], today))
        self._opened_on[row] = opened_on
        if held or kept:
            for level, groups in self.groups.items():
                groups.open[self.group[level][row]] += held
                groups.kept[self.group[level][row]] += kept
        is_news = position.version > self._versions[row]
        self._versions[row] = position.version
        self._days[row] = position.pnl_day
        self.quantity[row], self.average[row] = _held(position)
        self.realised[row] = position.made_on_day if position.pnl_day == today else 0
        self._carries += int(self.carried_quantity[row] != 0)
        return is_news

    def _opened(self, row: int, position: Exposure) -> date | None:
        """A position that was only told does not say when it was opened."""
        if position.opened_on is not None or position.pnl_day is None:
            return position.opened_on
        return opened(int(self.quantity[row]), position.quantity, self._opened_on[row], position.pnl_day)

    def _carry_into(self, today: date, row: int, position: Exposure) -> None:
        """What it says itself of what the day began with: a split or bonus may have changed that overnight."""
        if position.pnl_day != today:
            self._carry(row, *_held(position))
        elif position.carried_quantity:
            self._carry(row, *_carried(position))

    def _carry(self, row: int, quantity: float, average: float) -> None:
        self._carries += 1
        self.carried_quantity[row] = quantity
        self.carried_average[row] = average

    def _add(self, key: Hashable, position: Exposure) -> int:
        row = self._rows[key] = len(self._rows)
        self._versions.append(-1)
        self._days.append(None)
        self._opened_on.append(None)
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
        self._forget_flat(today - timedelta(days=1))
        for row, day in enumerate(self._days):
            if day != today:
                self.realised[row] = 0
                self._carry(row, self.quantity[row], self.average[row])
        rows = [row for row, opened_on in enumerate(self._opened_on) if _is_before(opened_on, today)]
        for level, groups in self.groups.items():
            groups.kept = np.bincount(self.group[level][rows], minlength=len(groups.open))

    def _forget_flat(self, since: date) -> None:
        """What was closed before that day: else a process that lives for months values all that anybody ever held."""
        days = self._days
        kept = [row for row, day in enumerate(days) if self.quantity[row] or day is None or day >= since]
        if len(kept) == len(days):
            return
        keys, rows = list(self._rows), np.array(kept, np.intp)
        self._rows = {keys[row]: n for n, row in enumerate(kept)}
        self._versions = [self._versions[row] for row in kept]
        self._days = [days[row] for row in kept]
        self._opened_on = [self._opened_on[row] for row in kept]
        self.quantity, self.average = picked(self.quantity, rows), picked(self.average, rows)
        self.realised, self._mtm = picked(self.realised, rows), picked(self._mtm, rows)
        self.carried_quantity = picked(self.carried_quantity, rows)
        self.carried_average = picked(self.carried_average, rows)
        self.instrument = picked(self.instrument, rows)
        for level, groups in self.groups.items():
            held, group = np.unique(self.group[level][rows], return_inverse=True)
            self.group[level] = picked(group, np.arange(len(group)))
            groups.keep(held)
        self._carries += 1

    def value(self, some_unknown: bool) -> None:
        """Value each row, and sum the rows by the groups of every level."""
        rows = len(self)
        mtm = self._mtm[:rows]
        np.take(self._prices.last, self.instrument[:rows], out=mtm, mode="clip")
        mtm -= self.average[:rows]
        mtm *= self.quantity[:rows]
        over = self._expired(rows)
        unpriced = self._unpriced(mtm, over, some_unknown)
        mtm += self.realised[:rows]
        for level, groups in self.groups.items():
            column = self.group[level][:rows]
            sums = np.bincount(column, weights=mtm, minlength=len(groups))
            groups.mtm = sums.astype(np.float64, copy=False)
            groups.unpriced = None
            if unpriced is not None and unpriced.any():
                groups.unpriced = np.bincount(column[unpriced], minlength=len(groups)) > 0
            groups.over = None if over is None else np.bincount(column[over], minlength=len(groups))

        self._sum_carried(rows, over)

    def _unpriced(
        self, mtm: Floats, over: npt.NDArray[np.bool_] | None, some_unknown: bool
    ) -> npt.NDArray[np.bool_] | None:
        """Rows whose price is not known; what they made since they were opened is left out, and of what is over."""
        rows = len(mtm)
        is_open = self.quantity[:rows] != 0
        unpriced = (np.isnan(mtm) & is_open) if some_unknown else None
        if unpriced is not None:
            np.nan_to_num(mtm, copy=False, nan=0.0)
        awaited = self._prices.awaited
        if awaited is not None:
            waiting = awaited[self.instrument[:rows]] & is_open
            unpriced = waiting if unpriced is None else unpriced | waiting
        if over is not None:
            mtm[over] = 0
            unpriced = None if unpriced is None else unpriced & ~over
        return unpriced

    def _expired(self, rows: int) -> npt.NDArray[np.bool_] | None:
        """Rows that are open in what has expired, or is gone: until it is settled it is worth what was paid. Its last
        price is forgotten with the process, and a loss that nobody can close would square off the rest every morning.
        """
        if self._prices.expired is None:
            return None
        over: npt.NDArray[np.bool_] = self._prices.expired[self.instrument[:rows]] & (self.quantity[:rows] != 0)
        return over

    def _sum_carried(self, rows: int, over: npt.NDArray[np.bool_] | None) -> None:
        """It changes a few times a day. Where nobody knows the close of the day before, as of what is closed and was
        not quoted since we began, or was settled after its day, all that it made is of the days before.
        """
        now = (self._prices.closes, self._carries, rows, 0 if over is None else int(over.sum()))
        if now == self._summed:
            return
        self._summed = now
        closes = np.take(self._prices.close, self.instrument[:rows], mode="clip")
        quantity = self.carried_quantity[:rows]
        carried = np.nan_to_num((closes - self.carried_average[:rows]) * quantity, nan=0.0)
        untold = np.isnan(closes) & (quantity != 0)
        if over is not None:
            untold |= over
        carried[untold] = self.realised[:rows][untold]
        for level, groups in self.groups.items():
            sums = np.bincount(self.group[level][:rows], weights=carried, minlength=len(groups))
            groups.carried = sums.astype(np.float64, copy=False)

    def open_rows(self, level: RiskLevel, group: int) -> Indices:
        rows = len(self)
        return np.flatnonzero((self.group[level][:rows] == group) & (self.quantity[:rows] != 0))


def _held(position: Exposure) -> tuple[float, float]:
    return _shares(position.quantity, position.average_price, position.unbooked)


def _carried(position: Exposure) -> tuple[float, float]:
    return _shares(position.carried_quantity, position.carried_average, position.carried_unbooked)


def _shares(quantity: int, average: Decimal, unbooked: Decimal) -> tuple[float, float]:
    """How many there are, and what each of them cost."""
    if not unbooked:
        return quantity, float(average)
    shares = quantity + unbooked
    return float(shares), float(average * quantity / shares)


def _is_before(opened_on: date | None, today: date) -> bool:
    return opened_on is not None and opened_on < today


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

    def put(self, position: Exposure, today: date) -> bool:
        return (self.net if position.strategy_id is None else self.books).put(position, today)

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
        some_unknown = self.prices.unknown > 0
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
        return 0 if found is None else int(groups.held[found])

    def priced_at(self, level: RiskLevel, scope: Hashable) -> float | None:
        """The time of the newest price among the scope's open positions; None while one of them has no price. What has
        expired needs none.
        """
        positions = self.positions(level)
        found = positions.groups[level].find(scope)
        if found is None:
            return None
        instruments = positions.instrument[positions.open_rows(level, found)]
        if self.prices.expired is not None:
            instruments = instruments[~self.prices.expired[instruments]]
        if not len(instruments) or np.isnan(self.prices.last[instruments]).any():
            return None
        return float(self.prices.at[instruments].max())
