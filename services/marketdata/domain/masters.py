"""When a broker's dump is good enough to replace the one before it, and what a difference between two masters is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEAST_KEPT = 0.8
"""Of yesterday's contracts that have not expired nearly all are listed today; some far strikes come and go."""
MOST_UNREADABLE = 0.005
FEW = 50
"""A handful of contracts (an exchange's index futures) may go without the dump being broken."""


class Change(StrEnum):
    """What publishing says of an instrument besides its listing."""

    ADDED = "added"
    TERMS = "terms"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    QUIET = "quiet"
    """Nothing: a name was spelled otherwise, or a broker's master was loaded for the first time."""


@dataclass(frozen=True, slots=True)
class ExchangeCensus:
    """One exchange in a new dump: `known` contracts of the dump before that have not expired, `kept` of these in the
    new one; `staged` rows in it, `live` of them not expired."""

    exchange: str
    known: int
    kept: int
    staged: int
    live: int


def fault_of_dump(census: Sequence[ExchangeCensus], unreadable: int) -> str | None:
    """Why the dump must not replace the one before it; None when it may."""
    rows = sum(each.staged for each in census)
    if rows == 0:
        return "no instrument could be read from it"
    if unreadable > MOST_UNREADABLE * (rows + unreadable):
        return f"{unreadable} of {rows + unreadable} rows cannot be read (at most {MOST_UNREADABLE:.1%} may)"
    if not any(each.live for each in census):
        return f"all {rows} contracts in it have expired: it is an old file"
    for each in census:
        if each.known - each.kept <= FEW and each.staged:
            continue
        if each.kept < LEAST_KEPT * each.known:
            return (
                f"{each.exchange}: only {each.kept} of {each.known} contracts of the last good dump that have not"
                f" expired are in it (at least {LEAST_KEPT:.0%} must be): it looks cut short"
            )
    return None
