"""Resting limits that the market traded through, while its book never came to them."""

import pytest

from libs.common.contracts.enums import OrderStatus
from services.walkforward.domain.market import fold
from services.walkforward.domain.matching import meet, sweep
from tests.services.walkforward.test_domain.terms import BUY, LIMIT, SELL, fills
from tests.services.walkforward.venue import NIFTY_FUTURE, NOON, last_look, later, market, order, tick

BEFORE = tick(100.0, bid=99.9, ask=100.0, volume=1_000)


@pytest.mark.parametrize(("last", "filled"), [(98.95, [(100, "99.00")]), (99.0, [])])
def test_a_buyer_is_filled_at_his_limit_by_what_traded_below_it_and_not_at_it(
    last: float, filled: list[tuple[int, str]]
) -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    look = last_look(BEFORE, tick(last, bid=99.9, ask=100.0, volume=1_100, at=later(1)))
    assert fills(meet(resting, look, later(1)).change.executions) == filled


@pytest.mark.parametrize(("last", "filled"), [(101.05, [(100, "101.00")]), (101.0, [])])
def test_a_seller_is_filled_at_his_limit_by_what_traded_above_it_and_not_at_it(
    last: float, filled: list[tuple[int, str]]
) -> None:
    resting = order(SELL, 100, LIMIT, "101.00", seen=NOON)
    look = last_look(BEFORE, tick(last, bid=99.9, ask=100.0, volume=1_100, at=later(1)))
    assert fills(meet(resting, look, later(1)).change.executions) == filled


def test_as_much_is_filled_as_was_traded_and_no_order_gets_what_another_got() -> None:
    early, late = (order(BUY, 60, LIMIT, "99.00", seen=NOON, priority_at=later(n)) for n in (-2, -1))
    look = last_look(BEFORE, tick(98.0, bid=99.9, ask=100.0, volume=1_090, at=later(1)))
    swept = sweep([late, early], look, later(1))
    assert {o.order_id: o.filled for o in swept.orders} == {early.order_id: 60, late.order_id: 30}
    assert swept.market.sold_under is None
    assert sweep(swept.orders, look, later(1)).orders == ()


def test_a_last_price_that_is_told_again_is_no_trade() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    look = last_look(
        tick(98.0, bid=99.5, ask=99.6, volume=1_000), tick(98.0, bid=99.5, ask=99.7, volume=1_000, at=later(1))
    )
    assert meet(resting, look, later(1)).change.order is resting


def test_what_was_traded_before_an_order_came_does_not_fill_it() -> None:
    """A feed that did not carry the instrument for an hour tells the last trade of that hour first."""
    newcomer = order(BUY, 100, LIMIT, "99.00", seen=later(30), priority_at=later(30), active_from=later(30))
    look = last_look(BEFORE, tick(98.0, bid=99.9, ask=100.0, volume=1_100, at=later(40)))
    assert meet(newcomer, look, later(40)).change.order is newcomer


def test_an_order_that_comes_trades_with_the_book_alone() -> None:
    look = last_look(BEFORE, tick(98.0, bid=99.9, ask=100.0, volume=1_100, at=later(1)))
    assert fills(meet(order(BUY, 100, LIMIT, "99.00"), look, later(1)).change.executions) == []
    assert fills(meet(order(BUY), look, later(1)).change.executions) == [(100, "100.00")]


def test_a_feed_without_quotes_keeps_its_half_spread() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    looks = tick(100.0, volume=1_000), tick(98.95, volume=1_100, at=later(1))
    assert meet(resting, last_look(*looks, half_spread_ticks=2), later(1)).change.order is resting
    assert fills(meet(resting, last_look(*looks), later(1)).change.executions) == [(100, "99.00")]


def test_less_than_a_lot_that_was_traded_fills_nothing() -> None:
    looks = [
        each.model_copy(update={"instrument": NIFTY_FUTURE})
        for each in (BEFORE, tick(98.0, bid=99.9, ask=100.0, volume=1_074, at=later(1)))
    ]
    resting = order(BUY, 75, LIMIT, "99.00", seen=NOON)
    assert meet(resting, last_look(*looks), later(1)).change.order is resting


def test_a_trade_between_two_folded_looks_is_not_missed() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    dip = last_look(BEFORE, tick(98.9, bid=99.9, ask=100.0, volume=1_070, at=later(1)))
    back = market(tick(100.0, bid=99.9, ask=100.0, volume=1_070, at=later(2)))
    for folded in (fold(dip, back), fold(market(BEFORE), fold(dip, back))):
        met = meet(resting, folded, later(2)).change
        assert fills(met.executions) == [(70, "99.00")]
        assert met.order.status is OrderStatus.PARTIALLY_FILLED
