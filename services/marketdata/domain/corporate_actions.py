"""What splits, bonuses and dividends do to prices from before them. Stored history is never rewritten: the factors
are applied when it is read.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import groupby
from typing import TypeAlias

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms

Told: TypeAlias = tuple[InstrumentId, date, CorporateActionKind]
"""Which action: one of a kind is kept for a day."""
LONGEST_PAUSE = timedelta(days=10)
"""A close that is older is not that of the session before an ex-date: the longest run of holidays is five days."""


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """One action on one instrument; from `ex_date` on the price is without it.

    A split makes `new` shares out of `old` (face value 10 to 2: old 1, new 5). A bonus gives `new` shares for every
    `old` held (1:1: old 1, new 1). A dividend pays `amount` rupees a share.
    """

    kind: CorporateActionKind
    ex_date: date
    old: int = 1
    new: int = 1
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What to multiply with in candles that start before `before` (an Indian date) and not before the previous one.

    Factors of later actions are contained in those of earlier ones. Volumes change with the number of shares, not
    with dividends.
    """

    before: date
    price: float
    volume: float


class NotAdjustable(ValueError):
    """An action that cannot be taken out of prices: it makes no sense, or the close before its ex-date is unknown."""


def adjustment_factors(actions: Iterable[CorporateAction], closes: Mapping[date, float]) -> list[Adjustment]:
    """The adjustments, the earliest first; a candle of day d takes the first one with d < before, or none. One of 1.0
    ends those behind it, where a later action takes an earlier one back.

    A split or bonus divides prices by the shares that one share became, and multiplies volumes with them. A dividend
    multiplies prices with (close - dividend) / close, where `closes` gives, by the ex-date, the unadjusted close of
    the last session before it, and leaves volumes. That is the method of the Center for Research in Security Prices
    (CRSP, "Data Descriptions Guide", factors to adjust price and shares), which Yahoo's adjusted close follows too.
    NotAdjustable for an action that makes no sense, and for a dividend whose close is not given.
    """
    adjustments: list[Adjustment] = []
    later = (1.0, 1.0)
    kept, shares = 1.0, Fraction(1)  # a float of shares would be rounded by the order in which actions are told
    newest_first = sorted(actions, key=lambda action: action.ex_date, reverse=True)
    for ex_date, together in groupby(newest_first, key=lambda action: action.ex_date):
        for action in together:
            kept *= _kept_of_price(action, closes)
            shares *= _shares(action)
        factors = kept / float(shares), float(shares)
        if factors != later:
            adjustments.append(Adjustment(ex_date, *factors))
        later = factors
    return adjustments[::-1]


def adjustment_on(adjustments: Iterable[Adjustment], day: date) -> Adjustment | None:
    """The adjustment of a candle of `day`; None when nothing happened since."""
    return next((each for each in adjustments if day < each.before), None)


def fault_of_actions(actions: Iterable[CorporateActionTerms]) -> str | None:
    """Why these are not to be taken together; None when they are. One of a kind is kept for a day: a final and a
    special dividend of one ex-date come out of the price as their sum.
    """
    told: dict[Told, CorporateActionTerms] = {}
    for terms in actions:
        if (fault := _fault_of(terms)) is not None:
            return fault
        first = told.setdefault(key_of(terms), terms)
        if first != terms:
            return f"{terms.kind} of {terms.instrument} on {terms.ex_date} is told twice: send one, of both together"
    return None


def fault_of_withdrawals(actions: Iterable[CorporateActionTerms], kept: Container[Told]) -> str | None:
    """Why one of them cannot be taken back, None when each can: after a slip in its day the wrong one would stand."""
    for terms in actions:
        if terms.withdrawn and key_of(terms) not in kept:
            return f"no {terms.kind} of {terms.instrument} on {terms.ex_date} is known that could be withdrawn"
    return None


def key_of(terms: CorporateActionTerms) -> Told:
    return terms.instrument, terms.ex_date, terms.kind


def _fault_of(terms: CorporateActionTerms) -> str | None:
    """Why this is no corporate action; None when it is one, or none to be."""
    if terms.withdrawn:
        return None
    what = f"{terms.kind} of {terms.instrument} on {terms.ex_date}"
    if terms.kind is CorporateActionKind.DIVIDEND:
        return None if terms.amount > 0 else f"{what}: the amount {terms.amount} is not positive"
    if terms.old <= 0 or terms.new <= 0:
        return f"{what}: {terms.old}:{terms.new} must both be positive"
    if terms.kind is CorporateActionKind.SPLIT and terms.old == terms.new:
        return f"{what}: {terms.old}:{terms.new} changes nothing"
    return None


def _shares(action: CorporateAction) -> Fraction:
    """Shares after the action for one before it."""
    if action.kind is CorporateActionKind.DIVIDEND:
        return Fraction(1)
    if action.old <= 0 or action.new <= 0:
        raise NotAdjustable(f"{action.kind} {action.old}:{action.new} on {action.ex_date}: both must be positive")
    if action.kind is CorporateActionKind.SPLIT:
        return Fraction(action.new, action.old)
    return Fraction(action.old + action.new, action.old)


def _kept_of_price(action: CorporateAction, closes: Mapping[date, float]) -> float:
    """What a dividend leaves of it."""
    if action.kind is not CorporateActionKind.DIVIDEND:
        return 1.0
    close = closes.get(action.ex_date)
    if close is None:
        raise NotAdjustable(
            f"the close before the dividend of {action.amount} on {action.ex_date} is unknown: no candle of the"
            f" {LONGEST_PAUSE.days} days before it is stored; import or backfill them"
        )
    if not 0 < action.amount < close:
        raise NotAdjustable(f"a dividend of {action.amount} on {action.ex_date} from a price of {close}")
    return (close - action.amount) / close
