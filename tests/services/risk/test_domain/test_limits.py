"""The limits that people set: duplicates, values, positions, the day's loss."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import DenialRule, OrderType, RiskLevel, Side
from services.risk.domain.money import rupees
from services.risk.domain.rules import denial
from tests.services.risk.scene import ACCOUNT, INFY, NOW, OTHER_ACCOUNT, SBIN, STRATEGY, TODAY, order
from tests.services.risk.test_domain.checking import STRANGER, check, held, limit, refused


def test_the_same_order_within_the_window_is_denied() -> None:
    guarded: dict[str, Any] = {"limits": (limit(identical_order_window_s=10),)}
    found = refused(order(), **guarded, last_identical=NOW - timedelta(seconds=4))
    assert (found.rule, found.limit, found.value) == (DenialRule.IDENTICAL_ORDER, "10 s", "4.0 s")
    assert denial(check(order(), **guarded, last_identical=NOW - timedelta(seconds=10))) is None
    assert denial(check(order(), **guarded)) is None


def test_an_order_cleared_in_the_future_of_a_clock_set_back_denies_none() -> None:
    """Another instance's clock may be ahead by little: within the window it is the same order all the same."""
    guarded: dict[str, Any] = {"limits": (limit(identical_order_window_s=10),)}
    assert denial(check(order(), **guarded, last_identical=NOW + timedelta(hours=1))) is None
    found = refused(order(), **guarded, last_identical=NOW + timedelta(seconds=2))
    assert found.rule is DenialRule.IDENTICAL_ORDER


def test_the_same_order_again_is_no_matter_unless_configured() -> None:
    assert denial(check(order(), last_identical=NOW)) is None


def test_an_order_above_the_max_value_is_denied_in_indian_figures() -> None:
    found = refused(order(quantity=150), limits=(limit(max_order_value=Decimal(100_000)),))
    assert found.rule is DenialRule.MAX_ORDER_VALUE
    assert found.reason == "order value 1,20,000 exceeds max order value 1,00,000"
    assert (found.limit, found.value) == ("100000", "120000")


def test_an_order_of_just_the_max_value_is_let_through() -> None:
    assert denial(check(order(), limits=(limit(max_order_value=Decimal(8000)),))) is None
    assert refused(order(), limits=(limit(max_order_value=Decimal("7999.99")),)).limit == "7999.99"


def test_the_smallest_of_several_limits_decides() -> None:
    limits = (limit(max_order_value=Decimal(9000)), limit(max_order_value=Decimal(7000)))
    assert refused(order(), limits=limits).limit == "7000"


def test_a_market_order_is_valued_at_the_last_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None, quantity=20)
    assert refused(request, limits=(limit(max_order_value=Decimal(15999)),)).value == "16000"


def test_a_new_position_over_the_maximum_is_denied_but_adding_to_one_is_not() -> None:
    two = limit(max_open_positions=2)
    full: dict[str, Any] = {"limits": (two,), "open_positions": {two.limit_id: 2}}
    found = refused(order(), **full)
    assert (found.rule, found.limit, found.value) == (DenialRule.MAX_OPEN_POSITIONS, "2", "2")
    assert denial(check(order(), net=held(5), **full)) is None
    assert denial(check(order(), limits=(two,), open_positions={two.limit_id: 1})) is None


def test_openalgo_1052_after_the_daily_loss_only_exits_go_through() -> None:
    lost = (limit(max_daily_loss=Decimal(5000), lost_on=TODAY),)
    found = refused(order(), limits=lost)
    assert (found.rule, found.limit) == (DenialRule.DAILY_LOSS, "5000")
    assert denial(check(order(side=Side.SELL), net=held(10), limits=lost)) is None


def test_a_daily_loss_of_a_day_that_the_clock_was_set_back_from_is_not_forgotten() -> None:
    lost = (limit(max_daily_loss=Decimal(5000), lost_on=TODAY + timedelta(days=1)),)
    assert refused(order(), limits=lost).rule is DenialRule.DAILY_LOSS


def test_yesterdays_daily_loss_is_forgotten() -> None:
    lost = (limit(max_daily_loss=Decimal(5000), lost_on=date(2026, 11, 23)),)
    assert denial(check(order(), limits=lost)) is None


def test_limits_concern_only_their_scope() -> None:
    request = order(strategy_id=STRATEGY)
    mine: list[dict[str, Any]] = [
        {},
        {"level": RiskLevel.ACCOUNT, "account_id": ACCOUNT},
        {"level": RiskLevel.STRATEGY, "strategy_id": STRATEGY},
        {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": SBIN},
    ]
    others: list[dict[str, Any]] = [
        {"level": RiskLevel.ACCOUNT, "account_id": OTHER_ACCOUNT},
        {"level": RiskLevel.STRATEGY, "strategy_id": OTHER_ACCOUNT},
        {"level": RiskLevel.INSTRUMENT, "account_id": ACCOUNT, "instrument": INFY},
        {"level": RiskLevel.INSTRUMENT, "account_id": OTHER_ACCOUNT, "instrument": SBIN},
    ]
    assert all(limit(**scope).concerns(request) for scope in mine)
    assert not any(limit(**scope).concerns(request) for scope in others)
    assert not replace(limit(), user_id=STRANGER).concerns(request)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"),
        ("999", "999"),
        ("1000", "1,000"),
        ("120000", "1,20,000"),
        ("12345678.5", "1,23,45,678.50"),
        ("-1234.05", "-1,234.05"),
    ],
)
def test_rupees_read_as_in_india(amount: str, text: str) -> None:
    assert rupees(Decimal(amount)) == text
