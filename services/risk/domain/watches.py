"""Which MTM each limit waits for. A watch fires once; flat again, or on the next day, it is armed anew.

Stop-loss and target are measured from the MTM at which the watch was last armed (0 at the start of a day), so that a
loss which was cut does not cut the next position at once. The trailing stop is measured from the best MTM since then;
that of an instrument or a strategy is kept overnight, and counts for as long as anything is open that was carried: of
what is opened after it, as on every day, the best of the day counts. A whole account's and a user's are limits on what
happens in a day, and begin anew with it.
The daily loss is what the scope lost since the day before closed, whatever it had lost until then: a position that is
carried does not lose the same money every day. It is not armed again on the same day.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import numpy as np

from libs.common.contracts.enums import BreachKind, RiskLevel
from libs.common.contracts.ids import AccountId, InstrumentId, RiskLimitId, StrategyId, UserId
from services.risk.domain.money import ZERO
from services.risk.domain.mtm import Book, Groups
from services.risk.domain.prices import Indices

LEVELS = (RiskLevel.INSTRUMENT, RiskLevel.STRATEGY, RiskLevel.ACCOUNT, RiskLevel.USER)
CARRIED = frozenset({RiskLevel.INSTRUMENT, RiskLevel.STRATEGY})
"""The levels whose trailing stops follow a position that is carried overnight."""
HALF_A_PAISA = 0.005

WatchKey = tuple[RiskLimitId, BreachKind]


@dataclass(frozen=True, slots=True)
class Watch:
    """One amount of one limit. `baseline`, `peak` and `armed` belong to `day`; a breach of an earlier day is over.

    `carried_peak` is the best of the days before in the terms of `day`, None where nothing was carried into it.
    `realised_before` is what the scope of a carried one had realised when `day` began; None where nobody knows.
    """

    limit_id: RiskLimitId
    kind: BreachKind
    version: int
    user_id: UserId
    level: RiskLevel
    account_id: AccountId | None
    strategy_id: StrategyId | None
    instrument: InstrumentId | None
    amount: Decimal
    armed: bool
    day: date
    baseline: Decimal
    peak: Decimal | None
    realised_before: Decimal | None = None
    carried_peak: Decimal | None = None

    @property
    def key(self) -> WatchKey:
        return self.limit_id, self.kind

    @property
    def scope(self) -> Hashable:
        match self.level:
            case RiskLevel.INSTRUMENT:
                return self.user_id, self.account_id, self.instrument
            case RiskLevel.STRATEGY:
                return self.user_id, self.strategy_id
            case RiskLevel.ACCOUNT:
                return self.user_id, self.account_id
            case RiskLevel.USER | RiskLevel.ALL:
                return self.user_id

    def concerns(self, account_id: AccountId, strategy_id: StrategyId | None, instrument: InstrumentId) -> bool:
        """Whether what moves there is in its scope."""
        return (
            self.account_id in (None, account_id)
            and self.strategy_id in (None, strategy_id)
            and self.instrument in (None, instrument)
        )

    @property
    def is_carried(self) -> bool:
        return self.kind is BreachKind.TRAILING_STOP and self.level in CARRIED

    def on(self, today: date) -> "Watch":
        """The watch as it stands on a day: each day starts from nothing, but for what is carried (see `begin_day`)."""
        if self.day == today or self.is_carried:
            return self
        return replace(self, armed=True, day=today, baseline=ZERO, peak=None)


def by_scope(watches: Iterable[Watch]) -> list[list[Watch]]:
    """Those of one scope together, always in the same order."""
    scopes: dict[Hashable, list[Watch]] = {}
    for watch in sorted(watches, key=lambda each: each.key):
        scopes.setdefault((watch.level, watch.scope), []).append(watch)
    return list(scopes.values())


@dataclass(frozen=True, slots=True)
class Carried:
    """What the scope of a watch brings into a day: whether a position, whether one that was brought into the watch's
    day already, and all that it had realised until then.
    """

    is_open: bool
    is_kept: bool
    realised: Decimal


def begin_day(watch: Watch, today: date, carried: Carried) -> Watch:
    """A carried watch into a day; or on that day again, when fills of the days before became known later.

    The MTM of a day counts what was realised on that day only. So the peak is told in the same terms, and is as far
    from the MTM after midnight as it was before.
    """
    known, peak, brought = watch.realised_before, watch.peak, watch.carried_peak
    if watch.day < today:
        watch = replace(watch, armed=True, day=today, baseline=ZERO)
        best = max((each for each in (peak, brought if carried.is_kept else None) if each is not None), default=None)
        peak, brought = None, best if carried.is_open and known is not None else None
    taken = ZERO if known is None else known - carried.realised
    return replace(
        watch,
        peak=None if peak is None else peak + taken,
        carried_peak=None if brought is None else brought + taken,
        realised_before=carried.realised,
    )


@dataclass(frozen=True, slots=True)
class Crossing:
    """A watch whose amount was reached."""

    watch: Watch
    mtm: Decimal
    peak: Decimal


class Lane:
    """The watches of one level as vectors. A watch fires when `direction * (reference - mtm) >= amount`."""

    def __init__(self, watches: Sequence[Watch], groups: Groups) -> None:
        found = [groups.find(watch.scope) for watch in watches]
        self.watches = [watch for watch, group in zip(watches, found, strict=True) if group is not None]
        self.group: Indices = np.array([group for group in found if group is not None], np.intp)
        self.amount = np.array([float(w.amount) for w in self.watches])
        self.armed = np.array([w.armed for w in self.watches], bool)
        self.daily = np.array([w.kind is BreachKind.DAILY_LOSS for w in self.watches], bool)
        self.trailing = np.array([w.kind is BreachKind.TRAILING_STOP for w in self.watches], bool)
        self.carried = np.array([w.is_carried for w in self.watches], bool)
        self.direction = np.array([-1.0 if w.kind is BreachKind.TARGET else 1.0 for w in self.watches])
        self.reference = np.array([_reference(w) for w in self.watches])
        self.brought = np.array([-np.inf if w.carried_peak is None else float(w.carried_peak) for w in self.watches])
        self.best = self.reference
        """Where a fall is measured from: the reference, or what was brought into the day."""
        self.kept = self.reference.copy()

    def step(self, groups: Groups, has_begun: bool) -> tuple[list[int], list[int]]:
        """Raise the peaks, then tell which watches reached their amount and which may be armed again."""
        mtm, held = groups.mtm[self.group], groups.held[self.group] > 0
        live = self.armed if groups.unpriced is None else self.armed & ~groups.unpriced[self.group]
        live = live if has_begun else live & ~self.carried
        np.maximum(self.reference, mtm, out=self.reference, where=self.trailing & live)
        brought = np.where(groups.kept[self.group] > 0, self.brought, -np.inf)
        self.best = np.where(self.trailing, np.maximum(self.reference, brought), self.reference)
        mtm = np.where(self.daily, mtm - groups.carried[self.group], mtm)
        reached = self.direction * (self.best - mtm) >= self.amount - HALF_A_PAISA
        fired = live & reached & (held | self.daily)
        flat = ~self.armed & ~held & ~self.daily
        return np.flatnonzero(fired).tolist(), np.flatnonzero(flat).tolist()

    def raised(self) -> list[int]:
        """Trailing stops whose peak rose since it was last kept."""
        return np.flatnonzero(self.trailing & self.armed & (self.reference > self.kept)).tolist()


class Watches:
    """Every watch of every limit, held against the book after each revaluation."""

    def __init__(self) -> None:
        self._watches: dict[WatchKey, Watch] = {}
        self._by_limit: dict[RiskLimitId, set[WatchKey]] = defaultdict(set)
        self._lanes: dict[RiskLevel, Lane] = {}
        self._scopes: dict[RiskLevel, int] = {}
        self._unwritten: dict[WatchKey, Decimal] = {}
        self._today = date.min

    def __len__(self) -> int:
        return len(self._watches)

    def replace(self, limit_id: RiskLimitId, watches: Iterable[Watch]) -> None:
        """These are the limit's watches now; none when it is gone. A peak that is not stored yet is not lost, nor is
        one that another instance saw.
        """
        new = [watch.on(self._today) if watch.day < self._today else watch for watch in watches]
        held = self._by_limit.get(limit_id, set())
        self._remember_peaks()
        if held == {watch.key for watch in new} and all(_is_no_news(self._watches[w.key], w) for w in new):
            return
        old = {key: self._watches.pop(key) for key in self._by_limit.pop(limit_id, set())}
        for watch in new:
            kept = self._watches[watch.key] = _with_peak_of(watch, old.get(watch.key))
            self._by_limit[limit_id].add(watch.key)
            if kept.peak != self._unwritten.get(watch.key):
                self._unwritten.pop(watch.key, None)
        self._lanes.clear()

    def stands(self, watch: Watch) -> bool:
        """Whether it is watched as it was when it was reached: not fired, changed or armed anew since."""
        held = self._watches.get(watch.key)
        return held is not None and _same_but_peak(held, watch)

    def step(self, book: Book, today: date, has_begun: bool) -> tuple[list[Crossing], list[Watch]]:
        """After a revaluation: the watches that were reached, and the fired ones whose scope is flat. Until the day
        `has_begun` for what is carried, its peaks stand in the terms of another day, and reach nothing.
        """
        if today != self._today:
            self._remember_peaks()
            self._unwritten = {watch.key: peak for watch, peak in self._raised() if watch.is_carried}
            self._watches = {key: watch.on(today) for key, watch in self._watches.items()}
            self._lanes.clear()
            self._today = today
        crossings: list[Crossing] = []
        flat: list[Watch] = []
        for level in LEVELS:
            groups = book.positions(level).groups[level]
            lane = self._lane(level, groups)
            fired, idle = lane.step(groups, has_begun)
            crossings += [_crossing(lane, i, groups) for i in fired]
            flat += [lane.watches[i] for i in idle]
        return crossings, flat

    def raised_peaks(self) -> list[tuple[Watch, Decimal]]:
        """Peaks to write down; they count as written from here on."""
        self._remember_peaks()
        raised = self._raised()
        self._unwritten.clear()
        return raised

    def not_kept(self, peaks: Iterable[tuple[Watch, Decimal]]) -> None:
        """They could not be written down."""
        for watch, peak in peaks:
            if self.stands(watch):
                self._unwritten.setdefault(watch.key, peak)

    def _raised(self) -> list[tuple[Watch, Decimal]]:
        return [(self._watches[key], peak) for key, peak in self._unwritten.items() if key in self._watches]

    def _lane(self, level: RiskLevel, groups: Groups) -> Lane:
        if level not in self._lanes or self._scopes[level] != len(groups):
            self._remember_peaks()
            self._lanes[level] = Lane([w for w in self._watches.values() if w.level is level], groups)
            self._scopes[level] = len(groups)
        return self._lanes[level]

    def _remember_peaks(self) -> None:
        """Take the risen peaks over from the vectors."""
        for lane in self._lanes.values():
            for i in lane.raised():
                key, peak = lane.watches[i].key, _decimal(lane.reference[i])
                self._watches[key] = replace(self._watches[key], peak=peak)
                self._unwritten[key] = peak
                lane.kept[i] = lane.reference[i]


def _reference(watch: Watch) -> float:
    if watch.kind is not BreachKind.TRAILING_STOP:
        return float(watch.baseline)
    return -np.inf if watch.peak is None else float(watch.peak)


def _same_but_peak(held: Watch, told: Watch) -> bool:
    return replace(held, peak=None) == replace(told, peak=None)


def _is_no_news(held: Watch, told: Watch) -> bool:
    return _same_but_peak(held, told) and _with_peak_of(told, held).peak == held.peak


def _standing(watch: Watch) -> tuple[object, ...]:
    """What a peak is the peak of. Another instance may tell a breach and arm the watch again before we hear of either:
    its baseline tells then.
    """
    return watch.version, watch.day, watch.armed, watch.baseline, watch.realised_before


def _with_peak_of(watch: Watch, old: Watch | None) -> Watch:
    if old is None or _standing(old) != _standing(watch):
        return watch
    known = [peak for peak in (old.peak, watch.peak) if peak is not None]
    return replace(watch, peak=max(known, default=None))


def _crossing(lane: Lane, i: int, groups: Groups) -> Crossing:
    mtm = float(groups.mtm[lane.group[i]])
    if lane.daily[i]:
        mtm -= float(groups.carried[lane.group[i]])
    peak = float(lane.best[i]) if lane.trailing[i] else mtm
    return Crossing(lane.watches[i], _decimal(mtm), _decimal(max(peak, mtm)))


def _decimal(rupees: float) -> Decimal:
    return Decimal(f"{rupees:.2f}")
