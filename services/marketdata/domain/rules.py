"""The exchanges' contract rules with their dates: lots, freezes, ticks, strike steps and expiries of index derivatives.

A master, where there is one, is the truth for its contracts; these tables generate a universe without one.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from itertools import islice

from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId


class Weekday(IntEnum):
    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4


Dated = tuple[tuple[date, int], ...]
ALWAYS = date.min

PreviousTradingDay = Callable[[date], date]
"""The last trading day on or before a day."""


@dataclass(frozen=True, slots=True)
class IndexRules:
    """One index that has derivatives. Tables are (from, value) in order of time.

    `lots` and `weekdays` go by the contract's expiry, `freezes` by the day of trading.
    """

    underlying: str
    spot: InstrumentId
    exchange: Exchange
    strike_step: Decimal
    weekly: bool
    lots: Dated
    freezes: Dated
    weekdays: Dated


_NSE_EXPIRY: Dated = ((ALWAYS, Weekday.THURSDAY), (date(2025, 9, 1), Weekday.TUESDAY))
_BSE_EXPIRY: Dated = (
    (ALWAYS, Weekday.FRIDAY),
    (date(2025, 1, 1), Weekday.TUESDAY),
    (date(2025, 9, 1), Weekday.THURSDAY),
)

INDEX_RULES: dict[str, IndexRules] = {
    rules.underlying: rules
    for rules in (
        IndexRules(
            "NIFTY",
            InstrumentId("NSE_INDEX:NIFTY"),
            Exchange.NFO,
            Decimal(50),
            True,
            ((ALWAYS, 50), (date(2024, 4, 26), 25), (date(2025, 1, 1), 75), (date(2026, 1, 1), 65)),
            ((ALWAYS, 1800),),
            _NSE_EXPIRY,
        ),
        IndexRules(
            "BANKNIFTY",
            InstrumentId("NSE_INDEX:BANKNIFTY"),
            Exchange.NFO,
            Decimal(100),
            False,
            ((ALWAYS, 15), (date(2025, 1, 1), 30), (date(2025, 7, 1), 35), (date(2026, 1, 1), 30)),
            ((ALWAYS, 900), (date(2025, 7, 1), 600), (date(2025, 9, 1), 900), (date(2025, 12, 1), 600)),
            _NSE_EXPIRY,
        ),
        IndexRules(
            "FINNIFTY",
            InstrumentId("NSE_INDEX:FINNIFTY"),
            Exchange.NFO,
            Decimal(50),
            False,
            ((ALWAYS, 40), (date(2024, 7, 30), 25), (date(2025, 1, 1), 65), (date(2026, 1, 1), 60)),
            ((ALWAYS, 1800), (date(2025, 12, 1), 1200)),
            _NSE_EXPIRY,
        ),
        IndexRules(
            "MIDCPNIFTY",
            InstrumentId("NSE_INDEX:MIDCPNIFTY"),
            Exchange.NFO,
            Decimal(25),
            False,
            (
                (ALWAYS, 75),
                (date(2024, 7, 1), 50),
                (date(2025, 1, 1), 120),
                (date(2025, 7, 1), 140),
                (date(2026, 1, 1), 120),
            ),
            ((ALWAYS, 5500), (date(2024, 8, 1), 2800), (date(2025, 3, 3), 4200), (date(2025, 7, 1), 2800)),
            _NSE_EXPIRY,
        ),
        IndexRules(
            "NIFTYNXT50",
            InstrumentId("NSE_INDEX:NIFTYNXT50"),
            Exchange.NFO,
            Decimal(100),
            False,
            ((ALWAYS, 10), (date(2025, 1, 1), 25)),
            ((ALWAYS, 600),),
            _NSE_EXPIRY,
        ),
        IndexRules(
            "SENSEX",
            InstrumentId("BSE_INDEX:SENSEX"),
            Exchange.BFO,
            Decimal(100),
            True,
            ((ALWAYS, 10), (date(2025, 1, 1), 20)),
            ((ALWAYS, 1000),),
            _BSE_EXPIRY,
        ),
        IndexRules(
            "BANKEX",
            InstrumentId("BSE_INDEX:BANKEX"),
            Exchange.BFO,
            Decimal(100),
            False,
            ((ALWAYS, 15), (date(2025, 1, 1), 30)),
            ((ALWAYS, 900),),
            _BSE_EXPIRY,
        ),
    )
}

OPTION_TICK = Decimal("0.05")
INDEX_TICK = Decimal("0.05")

_CASH_TICKS = (
    (Decimal(250), Decimal("0.01")),
    (Decimal(1000), Decimal("0.05")),
    (Decimal(5000), Decimal("0.10")),
    (Decimal(10000), Decimal("0.50")),
    (Decimal(20000), Decimal("1.00")),
)
_FUTURE_TICKS = ((Decimal(15000), Decimal("0.05")), (Decimal(30000), Decimal("0.10")))


def in_force(table: Dated, day: date) -> int:
    """The value of a dated table on `day`."""
    return table[bisect_right(table, day, key=lambda row: row[0]) - 1][1]


def lot_size(rules: IndexRules, expiry: date) -> int:
    return in_force(rules.lots, expiry)


def freeze_quantity(rules: IndexRules, day: date, lot: int) -> int:
    """The largest single order: the exchange's number floored to whole lots (600 with a lot of 35 means 595)."""
    return in_force(rules.freezes, day) // lot * lot


def cash_tick(price: Decimal) -> Decimal:
    """The tick of an NSE stock since 2025-04-15, by its price (the exchange reviews it monthly)."""
    return next((tick for below, tick in _CASH_TICKS if price < below), Decimal("5.00"))


def future_tick(level: Decimal) -> Decimal:
    """The tick of an index future, by the level of its index."""
    return next((tick for below, tick in _FUTURE_TICKS if level < below), Decimal("0.20"))


def weekly_expiries(rules: IndexRules, day: date, count: int, trading_day: PreviousTradingDay) -> list[date]:
    """The next `count` weekly expiries on or after `day`; on a holiday a contract expires the trading day before."""
    return _coming(map(trading_day, _weekly_days(rules, day)), day, count)


def monthly_expiries(rules: IndexRules, day: date, count: int, trading_day: PreviousTradingDay) -> list[date]:
    """The next `count` monthly expiries on or after `day`."""
    return _coming(map(trading_day, _monthly_days(rules, day)), day, count)


def _coming(expiries: Iterator[date], day: date, count: int) -> list[date]:
    return list(islice((expiry for expiry in expiries if expiry >= day), count))


def _weekly_days(rules: IndexRules, day: date) -> Iterator[date]:
    while True:
        if day.weekday() == in_force(rules.weekdays, day):
            yield day
        day += timedelta(days=1)


def _monthly_days(rules: IndexRules, day: date) -> Iterator[date]:
    year, month = day.year, day.month
    while True:
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        last = date(year, month, 1) - timedelta(days=1)
        weekday = in_force(rules.weekdays, last)
        yield last - timedelta(days=(last.weekday() - weekday) % 7)


def strikes_around(level: Decimal, step: Decimal, each_side: int) -> Sequence[Decimal]:
    """The strikes from `each_side` steps below the money to as many above; none at or below zero."""
    middle = (level / step).to_integral_value() * step
    strikes = (middle + step * n for n in range(-each_side, each_side + 1))
    return [strike for strike in strikes if strike > 0]
