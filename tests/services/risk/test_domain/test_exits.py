"""An exit is never stopped by a limit, only by being wrong."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType, Side
from libs.common.contracts.orders import OrderRequested
from services.risk.domain.halts import Halt
from services.risk.domain.ledger import Exposure
from services.risk.domain.rules import denial
from tests.services.risk.scene import CALL, NOW, STRATEGY, TODAY, order
from tests.services.risk.test_domain.checking import RICH, check, held, limit, refused


def test_hummingbot_2012_a_reducing_order_blocks_nothing_and_no_limit_stops_it() -> None:
    """hummingbot_2012: an exit must not fail for want of funds."""
    strict = (limit(max_order_value=Decimal(1), max_daily_loss=Decimal(1), lost_on=TODAY, identical_order_window_s=9),)
    broke = replace(RICH, opening_balance=Decimal(0))
    facts: dict[str, Any] = {"net": held(10), "limits": strict, "account": broke, "last_identical": NOW}
    reducing = check(order(side=Side.SELL), **facts)
    assert denial(reducing) is None
    assert reducing.margin == 0


def test_an_account_that_owes_margin_may_still_reduce() -> None:
    owing = replace(RICH, opening_balance=Decimal(0), position_margin=Decimal(5000))
    assert denial(check(order(side=Side.SELL), net=held(10), account=owing)) is None


def test_a_reducing_order_must_still_be_correct() -> None:
    assert refused(order(side=Side.SELL, price=Decimal("800.01")), net=held(10)).rule is DenialRule.TICK_SIZE


def test_what_a_pending_exit_closes_another_cannot_close_again() -> None:
    second = check(order(side=Side.SELL), net=held(10, pending_sell=10))
    assert (second.reducing, second.margin) == (0, Decimal("1600.00"))


def test_two_exits_never_flip_a_position() -> None:
    exit_order = order(side=Side.SELL, purpose=OrderPurpose.EXIT)
    assert denial(check(exit_order, net=held(10))) is None
    found = refused(exit_order, net=held(10, pending_sell=4))
    assert found.rule is DenialRule.NOT_REDUCING
    assert found.reason == "exit of 10 exceeds the 6 that is open and not being closed already"


def test_openalgo_1694_a_strategy_may_close_its_own_book_when_the_account_is_flat() -> None:
    request = order(side=Side.SELL, purpose=OrderPurpose.EXIT, strategy_id=STRATEGY)
    book = replace(held(10), strategy_id=STRATEGY)
    closing = check(request, net=held(0), book=book, limits=(limit(max_order_value=Decimal(1)),))
    assert denial(closing) is None
    assert closing.margin == Decimal("1600.00"), "the account's net position grows, so it is margined"
    assert refused(request, net=held(0), book=replace(book, pending_sell=1)).rule is DenialRule.NOT_REDUCING


def test_two_exits_of_a_strategy_never_sell_what_another_holds() -> None:
    """A stop and a target, or a second click: they turned its book over; once the other left the account was short."""
    request = order(side=Side.SELL, purpose=OrderPurpose.EXIT, strategy_id=STRATEGY)
    book, net = replace(held(10), strategy_id=STRATEGY), held(20)
    assert denial(check(request, net=net, book=book)) is None
    closing = {"net": replace(net, pending_sell=10), "book": replace(book, pending_sell=10)}
    found = refused(request, **closing)
    assert (found.rule, found.limit) == (DenialRule.NOT_REDUCING, "0")


def test_a_square_off_passes_halts_limits_and_margin() -> None:
    request = order(purpose=OrderPurpose.SQUARE_OFF, order_type=OrderType.MARKET, price=None)
    facts: dict[str, Any] = {
        "halts": (Halt("ALL", 1, halted=True),),
        "limits": (limit(max_order_value=Decimal(1), max_daily_loss=Decimal(1), lost_on=TODAY),),
        "account": replace(RICH, active=False, opening_balance=Decimal(0)),
        "price": None,
        "now": NOW + timedelta(hours=1),
    }
    assert denial(check(request, **facts)) is None


LOT = 75


def odd(quantity: int, purpose: OrderPurpose = OrderPurpose.SQUARE_OFF, **terms: Any) -> OrderRequested:
    facts: dict[str, Any] = {"instrument": CALL, "order_type": OrderType.MARKET, "price": None, **terms}
    return order(quantity=quantity, purpose=purpose, side=Side.SELL, **facts)


def calls(quantity: int, **more: Any) -> Exposure:
    return replace(held(quantity, **more), instrument=CALL)


@pytest.mark.parametrize("purpose", OrderPurpose)
def test_what_is_held_can_be_closed_after_its_lot_size_was_changed(purpose: OrderPurpose) -> None:
    """Bought as two lots of 50, a lot is 75 now: every exit was refused, for ever."""
    assert denial(check(odd(100, purpose), net=calls(100))) is None
    assert denial(check(odd(25, purpose), net=calls(100))) is None, "whole lots are left"
    assert denial(check(odd(LOT, purpose), net=calls(100))) is None
    assert denial(check(odd(25, purpose), net=calls(100, pending_sell=LOT))) is None


@pytest.mark.parametrize("purpose", OrderPurpose)
def test_an_odd_lot_is_never_opened_nor_left_smaller(purpose: OrderPurpose) -> None:
    for exposure in (calls(0), calls(-100), calls(150), calls(99), calls(100, pending_sell=25)):
        assert refused(odd(100, purpose), net=exposure).rule is DenialRule.LOT_SIZE
    assert refused(odd(60, purpose), net=calls(100)).rule is DenialRule.LOT_SIZE


def test_a_strategy_may_close_the_odd_lot_of_its_own_book() -> None:
    book = replace(calls(100), strategy_id=STRATEGY)
    others = calls(160)
    assert denial(check(odd(100, strategy_id=STRATEGY), net=others, book=book)) is None
    assert denial(check(odd(100, OrderPurpose.EXIT, strategy_id=STRATEGY), net=others, book=book)) is None
    opening = odd(100, OrderPurpose.ENTRY, strategy_id=STRATEGY)
    assert refused(opening, net=others, book=book).rule is DenialRule.LOT_SIZE


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        ({"instrument": "NSE:NOSUCH"}, DenialRule.INSTRUMENT_UNKNOWN),
        ({"quantity": 100}, DenialRule.LOT_SIZE),
        ({"price": Decimal("100.01")}, DenialRule.TICK_SIZE),
        ({"quantity": 1875}, DenialRule.FREEZE_QUANTITY),
    ],
)
def test_a_square_off_is_never_wrong(terms: dict[str, Any], rule: DenialRule) -> None:
    facts = {"instrument": CALL, "quantity": 75, "price": Decimal(100), **terms}
    assert refused(order(purpose=OrderPurpose.SQUARE_OFF, **facts)).rule is rule
