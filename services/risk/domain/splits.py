"""Splits and bonuses of what accounts at a broker hold. Trading books those on paper only: there the old shares stand
at the new price, a loss of half. So the shares that nobody booked count beside them, at no cost.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from math import prod

from services.risk.domain.ledger import Exposure, Ledger
from services.risk.domain.money import MICRO, ZERO


@dataclass(frozen=True, slots=True)
class ShareAction:
    """From `ex_date` on, what was `old` shares is `new`."""

    ex_date: date
    old: int
    new: int


def carried_into(held: Ledger, actions: Iterable[ShareAction], day: date) -> Ledger:
    """What a change of that day finds."""
    book = held.book and with_unbooked(held.book, actions, day)
    return replace(held, net=with_unbooked(held.net, actions, day), book=book)


def with_unbooked(exposure: Exposure, actions: Iterable[ShareAction], day: date) -> Exposure:
    """As it is on that day. What is told after somebody traded on its ex-date is left alone: nobody knows how much of
    the position was carried.
    """
    due = [each for each in actions if each.ex_date <= day and _was_carried_into(exposure, each.ex_date)]
    if not due or not exposure.quantity:
        return exposure
    shares = prod((Fraction(each.new, each.old) for each in due), start=Fraction(1))
    held = (exposure.quantity + exposure.unbooked) * shares.numerator / shares.denominator
    unbooked = (held - exposure.quantity).quantize(MICRO)
    is_of_its_day = any(each.ex_date == exposure.pnl_day for each in due)
    return replace(
        exposure,
        unbooked=unbooked,
        carried_unbooked=unbooked if is_of_its_day else exposure.carried_unbooked,
    )


def _was_carried_into(exposure: Exposure, ex_date: date) -> bool:
    """That a day began is told of what was traded on the day before, and changes nothing."""
    if exposure.pnl_day is None or exposure.pnl_day < ex_date:
        return True
    as_it_was = exposure.carried_quantity, exposure.carried_average, ZERO, ZERO
    now = exposure.quantity, exposure.average_price, exposure.realised_pnl, exposure.unbooked
    return exposure.pnl_day == ex_date and now == as_it_was
