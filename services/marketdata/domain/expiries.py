"""Current and next weekly and monthly expiries, as they are listed. Nothing is counted from weekdays: exchanges move
expiries for holidays and by circular.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from libs.common.contracts.masters import ExpiryRole


@dataclass(frozen=True, slots=True)
class ListedExpiry:
    """`monthly` is what the brokers' dumps say, None where none of them marks it."""

    day: date
    monthly: bool | None = None


def with_months(listed: Iterable[ListedExpiry]) -> dict[date, bool]:
    """Every expiry, the earliest first, and whether it is its month's.

    Where no dump marks the months, a month's expiry is the last one listed in it. The mark is better: USDINR lists a
    weekly contract for the Friday after the monthly one.
    """
    expiries = sorted(listed, key=lambda expiry: expiry.day)
    if any(expiry.monthly is not None for expiry in expiries):
        return {expiry.day: bool(expiry.monthly) for expiry in expiries}
    last = {max(e.day for e in month) for _, month in groupby(expiries, lambda e: (e.day.year, e.day.month))}
    return {expiry.day: expiry.day in last for expiry in expiries}


def roles(listed: Iterable[ListedExpiry], today: date) -> Mapping[ExpiryRole, date]:
    """Who is current and who is next on `today`; an expiry is current until its day is over.

    A series without weekly contracts has no weeks: BANKNIFTY lost them in 2024, and whoever asks for its week must not
    silently get a month.
    """
    months = with_months(expiry for expiry in listed if expiry.day >= today)
    weekly = list(months) if not all(months.values()) else []
    monthly = [day for day, is_month in months.items() if is_month]
    places = (
        (ExpiryRole.CURRENT_WEEK, weekly, 0),
        (ExpiryRole.NEXT_WEEK, weekly, 1),
        (ExpiryRole.CURRENT_MONTH, monthly, 0),
        (ExpiryRole.NEXT_MONTH, monthly, 1),
    )
    return {role: row[place] for role, row, place in places if place < len(row)}
