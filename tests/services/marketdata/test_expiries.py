from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.masters import ExpiryRole
from services.marketdata.domain.expiries import ListedExpiry, roles, with_months
from services.marketdata.domain.masters import ExchangeCensus, fault_of_dump

NIFTY = [date(2026, 8, 18), date(2026, 8, 25), date(2026, 9, 1), date(2026, 9, 8), date(2026, 9, 29)]


def unmarked(days: list[date]) -> list[ListedExpiry]:
    return [ListedExpiry(day) for day in days]


def test_a_months_expiry_is_the_last_one_listed_in_it_whatever_its_weekday() -> None:
    assert [day for day, monthly in with_months(unmarked(NIFTY)).items() if monthly] == [NIFTY[1], NIFTY[4]]


def test_what_the_dump_marks_as_the_months_counts_more_than_its_place() -> None:
    """USDINR: the month's contract on Tuesday 26, a weekly one on Friday 29 August 2025."""
    marked = [ListedExpiry(date(2025, 8, 26), monthly=True), ListedExpiry(date(2025, 8, 29), monthly=False)]
    assert roles(marked, date(2025, 8, 20)) == {
        ExpiryRole.CURRENT_WEEK: date(2025, 8, 26),
        ExpiryRole.NEXT_WEEK: date(2025, 8, 29),
        ExpiryRole.CURRENT_MONTH: date(2025, 8, 26),
    }


def test_an_expiry_is_current_until_its_day_is_over() -> None:
    assert roles(unmarked(NIFTY), NIFTY[0])[ExpiryRole.CURRENT_WEEK] == NIFTY[0]
    assert roles(unmarked(NIFTY), NIFTY[0] + timedelta(days=1))[ExpiryRole.CURRENT_WEEK] == NIFTY[1]


def test_after_the_months_expiry_the_next_month_is_current() -> None:
    found = roles(unmarked(NIFTY), NIFTY[1] + timedelta(days=1))
    assert (found[ExpiryRole.CURRENT_MONTH], ExpiryRole.NEXT_MONTH in found) == (NIFTY[4], False)


def test_a_series_of_months_has_no_weeks() -> None:
    months = unmarked([date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27)])
    assert set(roles(months, date(2026, 8, 1))) == {ExpiryRole.CURRENT_MONTH, ExpiryRole.NEXT_MONTH}


def test_nothing_listed_has_no_roles() -> None:
    assert roles([], date(2026, 8, 1)) == {}
    assert roles(unmarked(NIFTY), date(2027, 1, 1)) == {}


@given(st.sets(st.integers(0, 400), min_size=1).map(lambda days: [date(2026, 1, 1) + timedelta(d) for d in days]))
def test_roles_are_listed_days_that_have_not_passed_in_order(days: list[date]) -> None:
    today = date(2026, 6, 1)
    found = roles(unmarked(days), today)
    assert set(found.values()) <= {day for day in days if day >= today}
    for current, following in (
        (ExpiryRole.CURRENT_WEEK, ExpiryRole.NEXT_WEEK),
        (ExpiryRole.CURRENT_MONTH, ExpiryRole.NEXT_MONTH),
    ):
        if following in found:
            assert found[current] < found[following]


GOOD = ExchangeCensus("NFO", known=35_000, kept=34_000, staged=36_000, live=36_000)


def test_a_dump_that_keeps_most_of_the_last_one_is_good() -> None:
    assert fault_of_dump([GOOD], 0) is None
    assert fault_of_dump([ExchangeCensus("NFO", 0, 0, 36_000, 36_000)], 10) is None


@pytest.mark.parametrize(
    ("census", "unreadable", "why"),
    [
        ([], 0, "no instrument"),
        ([GOOD], 1_000, "cannot be read"),
        ([ExchangeCensus("MCX", 0, 0, 6_000, 0)], 0, "expired"),
        ([GOOD, ExchangeCensus("BFO", 4_000, 2_000, 2_100, 2_100)], 0, "BFO: only 2000 of 4000"),
        ([GOOD, ExchangeCensus("BFO", 4_000, 0, 0, 0)], 0, "BFO: only 0 of 4000"),
    ],
)
def test_a_dump_that_must_not_replace_the_last_one_is_told_why(
    census: list[ExchangeCensus], unreadable: int, why: str
) -> None:
    assert why in str(fault_of_dump(census, unreadable))


def test_a_handful_of_contracts_may_go() -> None:
    assert fault_of_dump([GOOD, ExchangeCensus("BFO", 40, 10, 12, 12)], 0) is None
