"""What splits, bonuses and dividends do to prices from before them. Stored history is never rewritten: the factors
are applied when it is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from libs.common.contracts.masters import CorporateActionKind, CorporateActionTerms


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


class CloseUnknown(LookupError):
    """A dividend cannot be taken out of prices without the close before its ex-date."""


def adjustment_factors(
    actions: Iterable[CorporateAction], closes: Mapping[date, float] | None = None
) -> list[Adjustment]:
    """The adjustments, the earliest first; a candle of day d takes the first one with d < before, or none.

    `closes` gives the unadjusted close of the last session before each dividend's ex-date, by that ex-date; without
    `closes` dividends are left in (prices adjusted for splits and bonuses only, as charts usually show them).
    Dividends by the method of CRSP and Yahoo: factor 1 - dividend / close before the ex-date. ValueError for an action
    that makes no sense, CloseUnknown for a dividend whose close is not given.
    """
    adjustments: list[Adjustment] = []
    price = volume = 1.0
    newest_first = sorted(actions, key=lambda action: action.ex_date, reverse=True)
    for ex_date, together in groupby(newest_first, key=lambda action: action.ex_date):
        for action in together:
            price *= _price_factor(action, closes)
            volume *= _shares(action)
        if adjustments and (adjustments[-1].price, adjustments[-1].volume) == (price, volume):
            continue
        if (price, volume) != (1.0, 1.0):
            adjustments.append(Adjustment(ex_date, price, volume))
    return adjustments[::-1]


def adjustment_on(adjustments: Iterable[Adjustment], day: date) -> Adjustment | None:
    """The adjustment of a candle of `day`; None when nothing happened since."""
    return next((each for each in adjustments if day < each.before), None)


def fault_of_action(terms: CorporateActionTerms) -> str | None:
    """Why this is no corporate action; None when it is one."""
    what = f"{terms.kind} of {terms.instrument} on {terms.ex_date}"
    if terms.kind is CorporateActionKind.DIVIDEND:
        return None if terms.amount > 0 else f"{what}: the amount {terms.amount} is not positive"
    if terms.old <= 0 or terms.new <= 0:
        return f"{what}: {terms.old}:{terms.new} must both be positive"
    if terms.kind is CorporateActionKind.SPLIT and terms.old == terms.new:
        return f"{what}: {terms.old}:{terms.new} changes nothing"
    return None


def _shares(action: CorporateAction) -> float:
    """Shares after the action for one before it."""
    if action.kind is CorporateActionKind.DIVIDEND:
        return 1.0
    if action.old <= 0 or action.new <= 0:
        raise ValueError(f"{action.kind} {action.old}:{action.new} on {action.ex_date}: both must be positive")
    if action.kind is CorporateActionKind.SPLIT:
        return action.new / action.old
    return (action.old + action.new) / action.old


def _price_factor(action: CorporateAction, closes: Mapping[date, float] | None) -> float:
    if action.kind is not CorporateActionKind.DIVIDEND:
        return 1 / _shares(action)
    if closes is None:
        return 1.0
    close = closes.get(action.ex_date)
    if close is None:
        raise CloseUnknown(f"no close before the ex-date {action.ex_date} of a dividend of {action.amount}")
    if not 0 < action.amount < close:
        raise ValueError(f"a dividend of {action.amount} on {action.ex_date} from a price of {close}")
    return 1 - action.amount / close
