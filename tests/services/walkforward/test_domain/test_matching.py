"""How market and limit orders meet the market, and which of several comes first."""

from libs.common.contracts.enums import OrderStatus, Validity
from services.walkforward.domain import requests
from services.walkforward.domain.matching import meet, sweep
from services.walkforward.domain.orders import expire
from tests.services.walkforward.test_domain.terms import BUY, LIMIT, SELL, SL_M, K, fills, kinds
from tests.services.walkforward.venue import EVENING, NOON, later, level, market, order, tick


def test_a_market_order_trades_at_the_opposite_best_price() -> None:
    quoted = market(tick(100.0, bid=99.9, ask=100.1))
    assert fills(meet(order(BUY), quoted, NOON).change.executions) == [(100, "100.10")]
    assert fills(meet(order(SELL), quoted, NOON).change.executions) == [(100, "99.90")]


def test_a_market_order_walks_the_depth() -> None:
    met = meet(order(BUY, 100), market(tick(asks=((100.0, 30), (100.1, 50), (100.2, 50)))), NOON)
    assert fills(met.change.executions) == [(30, "100.00"), (50, "100.10"), (20, "100.20")]
    assert [e.leaves_quantity for e in met.change.executions] == [70, 20, 0]
    assert met.change.order.status is OrderStatus.FILLED
    assert met.market.asks == (level("100.20", 30),)


def test_what_is_left_of_a_market_order_goes_on_with_the_next_tick() -> None:
    first = meet(order(BUY, 100), market(tick(ask=100.0, ask_quantity=30)), NOON).change.order
    assert (first.status, first.leaves) == (OrderStatus.PARTIALLY_FILLED, 70)
    second = meet(first, market(tick(ask=100.3, ask_quantity=500, at=later(1))), later(1)).change
    assert fills(second.executions) == [(70, "100.30")]
    assert second.order.status is OrderStatus.FILLED


def test_the_same_tick_never_fills_an_order_again() -> None:
    shown = market(tick(ask=100.0, ask_quantity=30))
    first = meet(order(BUY, 100), shown, NOON).change.order
    assert meet(first, shown, NOON).change.order is first


def test_an_ioc_market_order_takes_what_is_there_and_the_rest_expires() -> None:
    met = meet(order(BUY, 100, validity=Validity.IOC), market(tick(ask=100.0, ask_quantity=30)), NOON)
    assert kinds(met.change.executions) == [K.FILLED, K.EXPIRED]
    assert met.change.executions[-1].leaves_quantity == 0
    assert met.change.order.filled == 30


def test_an_order_without_a_market_waits_and_an_ioc_order_expires() -> None:
    waiting = order(BUY)
    assert requests.without_market(waiting, NOON).order is waiting
    assert requests.without_market(order(BUY, validity=Validity.IOC), NOON).order.status is OrderStatus.EXPIRED


def test_a_marketable_limit_order_takes_better_prices_and_never_worse_ones() -> None:
    met = meet(order(BUY, 100, LIMIT, "100.10"), market(tick(asks=((100.0, 30), (100.1, 20), (100.2, 50)))), NOON)
    assert fills(met.change.executions) == [(30, "100.00"), (20, "100.10")]
    assert met.change.order.leaves == 50


def test_openalgo_1303_a_resting_limit_order_trades_at_its_own_price_when_the_market_comes_to_it() -> None:
    resting = meet(order(BUY, 100, LIMIT, "99.00"), market(tick(bid=99.9, ask=100.0)), NOON).change.order
    assert resting.seen == NOON
    above = market(tick(bid=99.0, ask=99.05, ask_quantity=500, at=later(1)))
    assert meet(resting, above, later(1)).change.order is resting
    through = market(tick(bid=98.0, asks=((98.5, 40), (99.0, 20), (99.05, 90)), at=later(2)))
    assert fills(meet(resting, through, later(2)).change.executions) == [(60, "99.00")]


def test_a_resting_sell_limit_trades_when_the_bid_reaches_it() -> None:
    resting = order(SELL, 100, LIMIT, "101.00", seen=NOON)
    assert fills(meet(resting, market(tick(bid=101.0, ask=101.1, at=later(1))), later(1)).change.executions) == [
        (100, "101.00")
    ]


def test_a_limit_order_on_a_feed_without_quotes_trades_when_the_last_price_reaches_it() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    assert meet(resting, market(tick(99.05, at=later(1))), later(1)).change.order is resting
    assert fills(meet(resting, market(tick(98.9, at=later(2))), later(2)).change.executions) == [(100, "99.00")]


def test_an_old_last_price_does_not_fill_against_the_quotes_of_now() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    assert meet(resting, market(tick(98.0, bid=99.5, ask=99.6, at=later(1))), later(1)).change.order is resting


def test_what_one_order_took_the_next_does_not_get() -> None:
    late, early = order(BUY, 60, priority_at=later(-1)), order(BUY, 60, priority_at=later(-2))
    swept = sweep([late, early], market(tick(ask=100.0, ask_quantity=100)), NOON)
    got = {o.order_id: o.filled for o in swept.orders}
    assert got == {early.order_id: 60, late.order_id: 40}
    assert swept.market.asks == ()


def test_the_better_price_comes_first_whenever_it_came() -> None:
    early, better = order(BUY, 50, LIMIT, "100.00", seen=NOON), order(BUY, 50, LIMIT, "100.05", seen=NOON)
    swept = sweep([early, better], market(tick(ask=99.9, ask_quantity=50, at=later(1))), later(1))
    assert [o.order_id for o in swept.orders] == [better.order_id]


def test_orders_in_the_book_come_before_a_stop_that_the_same_tick_wakes() -> None:
    stop, resting = order(BUY, 50, SL_M, trigger="99.00", seen=NOON), order(BUY, 50, LIMIT, "100.00", seen=NOON)
    swept = sweep([stop, resting], market(tick(99.5, ask=99.5, ask_quantity=50, at=later(1))), later(1))
    assert {o.order_id: o.filled for o in swept.orders} == {resting.order_id: 50, stop.order_id: 0}


def test_an_order_under_way_meets_no_market() -> None:
    slow = order(BUY, active_from=later(0.2))
    assert meet(slow, market(tick()), NOON).change.order is slow
    assert fills(meet(slow, market(tick()), later(0.2)).change.executions) == [(100, "100.00")]


def test_an_order_from_before_the_clock_was_set_back_goes_on_trading() -> None:
    """Its own times, and that of the last look at it, lie an hour ahead; ticks come with the time of now."""
    for taken in (order(BUY, active_from=later(3600)), order(BUY, 100, LIMIT, "100.00", seen=later(3600))):
        met = meet(taken, market(tick(ask=100.0, ask_quantity=60, at=later(1))), later(1)).change
        assert fills(met.executions) == [(60, "100.00")]
        assert meet(met.order, market(tick(ask=100.0, ask_quantity=60, at=later(1))), later(1)).change.executions == ()


def test_nothing_trades_once_the_session_is_over() -> None:
    resting = order(BUY)
    assert meet(resting, market(tick(at=EVENING)), EVENING).change.order is resting
    assert kinds(expire(resting, EVENING).executions) == [K.EXPIRED]
