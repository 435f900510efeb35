"""Which expiry a rule means."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import ExpiryRule, InstrumentKind, OptionType
from services.strategy.domain.chain import choose_expiry, lists_weeks
from tests.services.strategy.markets import TODAY, real_chain, the_chain
from tests.services.strategy.scene import WEEKS


@pytest.mark.parametrize(
    ("rule", "day"),
    [
        (ExpiryRule.CURRENT_WEEK, date(2026, 8, 18)),
        (ExpiryRule.NEXT_WEEK, date(2026, 8, 25)),
        (ExpiryRule.CURRENT_MONTH, date(2026, 8, 25)),
        (ExpiryRule.NEXT_MONTH, date(2026, 9, 29)),
    ],
)
def test_weeks_and_months_are_listed_expiries(rule: ExpiryRule, day: date) -> None:
    assert choose_expiry(rule, WEEKS, TODAY) == day


def test_after_the_monthly_expiry_the_current_month_is_the_next_one() -> None:
    listed = [day for day in WEEKS if day > date(2026, 8, 25)]
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, listed, TODAY) == date(2026, 9, 29)


def test_an_expiry_that_a_holiday_moved_is_still_the_week_and_the_month() -> None:
    """2026-11-24 is a holiday: the monthly contract of November expires on Monday 23."""
    listed = [date(2026, 11, 17), date(2026, 11, 23), date(2026, 12, 1), date(2026, 12, 29)]
    assert choose_expiry(ExpiryRule.NEXT_WEEK, listed, TODAY) == date(2026, 11, 23)
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, listed, TODAY) == date(2026, 11, 23)


def test_who_asks_for_a_week_never_gets_a_month_instead() -> None:
    months = [date(2026, 8, 25), date(2026, 9, 29), date(2026, 10, 27)]
    assert not lists_weeks(months)
    assert choose_expiry(ExpiryRule.CURRENT_WEEK, months, TODAY) is None
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, months, TODAY) == date(2026, 8, 25)


@pytest.mark.parametrize(("today", "day"), [(date(2026, 9, 14), None), (date(2026, 9, 19), date(2026, 9, 29))])
def test_the_only_one_listed_is_a_week_when_it_is_no_further_away(today: date, day: date | None) -> None:
    """Of some commodities one expiry is listed. Seen: who asked for a week was given one in two months."""
    assert choose_expiry(ExpiryRule.CURRENT_WEEK, [date(2026, 9, 29)], today) == day
    assert choose_expiry(ExpiryRule.CURRENT_MONTH, [date(2026, 9, 29)], today) == date(2026, 9, 29)


@given(st.lists(st.dates(date(2026, 1, 1), date(2030, 12, 31)), unique=True).map(sorted), st.sampled_from(ExpiryRule))
def test_openalgo_1243_an_expiry_is_always_a_listed_one(listed: list[date], rule: ExpiryRule) -> None:
    chosen = choose_expiry(rule, listed, TODAY)
    assert chosen is None or chosen in listed


def test_a_contract_can_be_traded_on_the_day_it_expires() -> None:
    listed = the_chain().expiries("NIFTY", InstrumentKind.OPTION, OptionType.CE, WEEKS[0])
    assert choose_expiry(ExpiryRule.CURRENT_WEEK, listed, WEEKS[0]) == WEEKS[0]


@pytest.mark.parametrize(
    ("underlying", "today", "rule", "day"),
    [
        ("NIFTY", TODAY, ExpiryRule.CURRENT_WEEK, date(2026, 8, 18)),
        ("NIFTY", date(2026, 8, 19), ExpiryRule.CURRENT_WEEK, date(2026, 8, 25)),
        ("NIFTY", date(2026, 8, 26), ExpiryRule.CURRENT_MONTH, date(2026, 9, 29)),
        ("NIFTY", date(2029, 12, 20), ExpiryRule.CURRENT_MONTH, date(2029, 12, 24)),
        ("BANKNIFTY", TODAY, ExpiryRule.CURRENT_WEEK, None),
        ("BANKNIFTY", TODAY, ExpiryRule.NEXT_MONTH, date(2026, 9, 29)),
    ],
)
def test_expiries_of_the_real_master(underlying: str, today: date, rule: ExpiryRule, day: date | None) -> None:
    listed = real_chain().expiries(underlying, InstrumentKind.OPTION, OptionType.CE, today)
    assert choose_expiry(rule, listed, today) == day
