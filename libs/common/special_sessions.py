"""The trading days that no calendar library knows, and the day the hours changed. A table; no logic.

Dates: the list of special sessions traded on NSE cash in the project's market-rules.json (`sessions`).
Hours: as the exchanges announced them, through the source named on each row; without a row's own hours the
ordinary hours of the exchange apply (budget days; and days whose announced hours we have no source for).
"""

from dataclasses import dataclass
from datetime import date, time

from libs.common.contracts.enums import Exchange

CLOSING_AUCTION_FROM = date(2026, 8, 3)
"""From here derivative-listed stocks trade to 15:15 and then in a closing auction to 15:35, and equity
derivatives trade to 15:40 (SEBI circular HO/47/11/11(3)2025-MRD-POD2/I/2765/2026, market-rules.json `sessions`)."""

EQUITY = frozenset(
    {Exchange.NSE, Exchange.BSE, Exchange.NFO, Exchange.BFO, Exchange.NSE_INDEX, Exchange.BSE_INDEX},
)
EVERY = frozenset(Exchange)

Hours = tuple[tuple[time, time], ...]

MORNING = (time(9, 15), time(10))
EVENING_2020 = ((time(18, 15), time(19, 15)),)
EVENING_2024 = ((time(18), time(19)),)
AFTERNOON_2025 = ((time(13, 45), time(14, 45)),)


@dataclass(frozen=True, slots=True)
class SpecialSession:
    """A day that trades although the library says it does not. `hours` are IST spans, empty for ordinary hours."""

    day: date
    name: str
    exchanges: frozenset[Exchange] = EVERY
    hours: Hours = ()


SPECIAL_SESSIONS = (
    SpecialSession(date(2020, 2, 1), "budget Saturday", EQUITY),
    # NDTV, 2020-11-14, which shows the table of NSE.
    SpecialSession(date(2020, 11, 14), "Muhurat", EVERY, EVENING_2020),
    # Free Press Journal, 2021-11-04.
    SpecialSession(date(2021, 11, 4), "Muhurat", EVERY, EVENING_2020),
    # Livemint, 2022-10-12, after the notices of BSE and NSE.
    SpecialSession(date(2022, 10, 24), "Muhurat", EVERY, EVENING_2020),
    # Angel One announcement for 2023-11-12.
    SpecialSession(date(2023, 11, 12), "Muhurat", EVERY, EVENING_2020),
    # The drill of this day became a full session (Zee News, 2024-02-15).
    SpecialSession(date(2024, 1, 20), "Saturday in place of Monday 22nd", EQUITY),
    # Zee News and Hindustan Times, 2024-02-15, after the circular of 2024-02-14.
    SpecialSession(date(2024, 3, 2), "recovery site drill", EQUITY, (MORNING, (time(11, 30), time(12, 30)))),
    # ANI, 2024-05-07, after the circular of that day, which moved the second part from 11:30.
    SpecialSession(date(2024, 5, 18), "recovery site drill", EQUITY, (MORNING, (time(11, 45), time(12, 40)))),
    # The India Awaaz, 2024-10-31; Business Times, 2024-10-21.
    SpecialSession(date(2024, 11, 1), "Muhurat", EVERY, EVENING_2024),
    SpecialSession(date(2025, 2, 1), "budget Saturday", EQUITY),
    # NDTV Profit, 2025-09-22, after the circular of that day: in the afternoon for once.
    SpecialSession(date(2025, 10, 21), "Muhurat", EVERY, AFTERNOON_2025),
    SpecialSession(date(2026, 2, 1), "budget Sunday", EQUITY),
    # No source at hand for the hours of 2026.
    SpecialSession(date(2026, 11, 8), "Muhurat", EVERY),
)
