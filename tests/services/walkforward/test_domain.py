"""How orders meet the market, by examples and by invariants."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import ExecutionKind, OrderStatus, OrderType, Side, Validity
from libs.common.contracts.venue import ExecutionReported
from services.walkforward.domain import requests
from services.walkforward.domain.market import FillModel, Liquidity, Listing, Market, fold, market_of
from services.walkforward.domain.matching import meet, sweep
from services.walkforward.domain.orders import Change, Order, end, expire
from services.walkforward.domain.watch import Watch
from tests.services.walkforward.venue import (
    EVENING,
    NOON,
    STOCK,
    cancel,
    later,
    level,
    market,
    modify,
    order,
    tick,
)

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, SL, SL_M = OrderType.MARKET, OrderType.LIMIT, OrderType.SL, OrderType.SL_M
K = ExecutionKind


def fills(executions: tuple[ExecutionReported, ...]) -> list[tuple[int, str]]:
    return [(e.quantity, str(e.price)) for e in executions if e.kind is K.FILLED]


def kinds(executions: tuple[ExecutionReported, ...]) -> list[ExecutionKind]:
    return [e.kind for e in executions]


# What a tick is to orders


def test_prices_become_decimals_on_the_tick() -> None:
    seen = market(tick(429.95000000000005, bid=429.9, ask=430.0499999))
    assert (seen.last, seen.bids[0].price, seen.asks[0].price) == (
        Decimal("429.95"),
        Decimal("429.90"),
        Decimal("430.05"),
    )


@pytest.mark.parametrize("nonsense", [0.0, -5.0, float("nan"), float("inf"), float("-inf"), 0.0001])
def test_a_price_that_is_no_price_is_not_there(nonsense: float) -> None:
    seen = market(tick(nonsense, bids=((nonsense, 5),), asks=((nonsense, 5), (101.0, 5))))
    assert (seen.last, seen.bids, seen.asks) == (None, (), (level("101.00", 5),))
    assert market(tick(nonsense)).asks == ()


def test_the_best_price_is_first_however_the_feed_orders_its_depth() -> None:
    seen = market(tick(asks=((101.0, 5), (100.5, 7)), bids=((99.0, 5), (99.5, 7))))
    assert seen.asks[0] == level("100.50", 7)
    assert seen.bids[0] == level("99.50", 7)


def test_without_quotes_the_last_price_stands_for_both_sides_without_end() -> None:
    assert market(tick(100.0)).asks == market(tick(100.0)).bids == (level("100.00", None),)


def test_openalgo_924_without_quotes_the_half_spread_parts_the_sides() -> None:
    seen = market(tick(100.0), FillModel(half_spread_ticks=2))
    assert (seen.bids, seen.asks) == ((level("99.90", None),), (level("100.10", None),))


def test_a_market_without_sellers_is_not_one_without_quotes() -> None:
    assert market(tick(100.0, bid=100.0)).asks == ()


def test_a_share_of_the_shown_quantity_is_counted_in_whole_lots() -> None:
    future = Listing(STOCK.exchange, 75, STOCK.tick_size)
    half = FillModel(displayed_fraction=Decimal("0.5"))
    assert market_of(tick(asks=((100.0, 400), (101.0, 100))), future, half).asks == (level("100.00", 150),)


def test_unlimited_liquidity_ignores_the_shown_quantity() -> None:
    assert market(tick(asks=((100.0, 5),)), FillModel(Liquidity.UNLIMITED)).asks == (level("100.00", None),)


# Market orders


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


# Limit orders


def test_a_marketable_limit_order_takes_better_prices_and_never_worse_ones() -> None:
    met = meet(order(BUY, 100, LIMIT, "100.10"), market(tick(asks=((100.0, 30), (100.1, 20), (100.2, 50)))), NOON)
    assert fills(met.change.executions) == [(30, "100.00"), (20, "100.10")]
    assert met.change.order.leaves == 50


def test_a_resting_limit_order_trades_at_its_own_price_when_the_market_comes_to_it() -> None:
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


# Stops


@pytest.mark.parametrize(
    ("side", "trigger", "before", "at"), [(BUY, "101.00", 100.95, 101.0), (SELL, "99.00", 99.05, 99.0)]
)
def test_a_stop_sleeps_until_its_trigger_trades(side: Side, trigger: str, before: float, at: float) -> None:
    """openalgo#1304, #1318, #1546: stops that never fired although the price crossed."""
    stop = order(side, 100, SL_M, trigger=trigger)
    asleep = meet(stop, market(tick(before)), NOON).change.order
    assert asleep.is_dormant
    met = meet(asleep, market(tick(at, at=later(1))), later(1))
    assert kinds(met.change.executions) == [K.TRIGGERED, K.FILLED]


def test_a_triggered_stop_limit_is_a_limit_order() -> None:
    stop = order(SELL, 100, SL, "98.50", "99.00", seen=NOON)
    gapped = market(tick(98.0, bid=97.9, ask=98.0, at=later(1)))
    triggered = meet(stop, gapped, later(1)).change
    assert kinds(triggered.executions) == [K.TRIGGERED]
    back = market(tick(98.6, bid=98.6, ask=98.7, at=later(2)))
    assert fills(meet(triggered.order, back, later(2)).change.executions) == [(100, "98.50")]


def test_a_stop_beyond_its_trigger_on_arrival_is_triggered_at_once() -> None:
    assert kinds(meet(order(BUY, 100, SL_M, trigger="99.00"), market(tick(100.0)), NOON).change.executions) == [
        K.TRIGGERED,
        K.FILLED,
    ]


def test_a_triggered_ioc_stop_expires_what_it_cannot_fill() -> None:
    stop = order(BUY, 100, SL, "101.00", "100.50", validity=Validity.IOC, seen=NOON)
    met = meet(stop, market(tick(100.5, bid=101.5, ask=102.0, at=later(1))), later(1))
    assert kinds(met.change.executions) == [K.TRIGGERED, K.EXPIRED]


# Fairness, latency, the end


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


def test_nothing_trades_once_the_session_is_over() -> None:
    resting = order(BUY)
    assert meet(resting, market(tick(at=EVENING)), EVENING).change.order is resting
    assert kinds(expire(resting, EVENING).executions) == [K.EXPIRED]


# Looks that were folded because their reader fell behind


def test_a_crossing_between_two_folded_looks_is_not_missed() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    dip = market(tick(98.9, bid=98.8, ask=98.9, ask_quantity=70, at=later(1)))
    back = market(tick(100.0, bid=99.9, ask=100.0, at=later(2)))
    assert fills(meet(resting, fold(dip, back), later(2)).change.executions) == [(70, "99.00")]


def test_a_trigger_between_two_folded_looks_is_not_missed_and_trades_at_the_newest_price() -> None:
    stop = order(BUY, 100, SL_M, trigger="105.00", seen=NOON)
    folded = fold(market(tick(105.0, at=later(1))), market(tick(100.0, at=later(2))))
    assert fills(meet(stop, folded, later(2)).change.executions) == [(100, "100.00")]


def test_an_extreme_from_before_an_order_came_is_not_its_own() -> None:
    folded = fold(market(tick(98.0, bid=97.9, ask=98.0, at=later(1))), market(tick(bid=99.9, ask=100.0, at=later(3))))
    newcomer = order(BUY, 100, LIMIT, "99.00", seen=later(2), active_from=later(2))
    assert meet(newcomer, folded, later(3)).change.order is newcomer


def test_a_trigger_from_before_a_stop_came_does_not_wake_it() -> None:
    folded = fold(market(tick(105.0, at=later(1))), market(tick(100.0, at=later(3))))
    newcomer = order(BUY, 100, SL_M, trigger="105.00", seen=later(2), active_from=later(2))
    assert meet(newcomer, folded, later(3)).change.order is newcomer


def test_a_stop_that_came_when_no_price_was_known_ignores_the_prices_of_before() -> None:
    stop = requests.without_market(order(SELL, 100, SL_M, trigger="99.00"), NOON).order
    assert meet(stop, market(tick(98.0, at=later(-5))), NOON).change.order is stop
    assert meet(stop, market(tick(98.0, at=later(1))), later(1)).change.order.triggered


# Changing and cancelling


def changed(answer: Change | str) -> Change:
    assert isinstance(answer, Change)
    return answer


def test_a_smaller_order_keeps_its_place_in_the_queue_and_any_other_change_loses_it() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    smaller = changed(requests.modify(resting, modify(resting, 40, LIMIT, "99.00"), STOCK, later(5))).order
    larger = changed(requests.modify(resting, modify(resting, 140, LIMIT, "99.00"), STOCK, later(5))).order
    dearer = changed(requests.modify(resting, modify(resting, 100, LIMIT, "99.05"), STOCK, later(5))).order
    assert [o.priority_at for o in (smaller, larger, dearer)] == [NOON, later(5), later(5)]
    assert dearer.seen is None


def test_a_modified_order_reports_its_new_terms() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    (said,) = changed(requests.modify(resting, modify(resting, 50, SL, "101.00", "100.00"), STOCK, NOON)).executions
    assert (said.kind, said.quantity, said.price, said.trigger_price, said.order_type, said.leaves_quantity) == (
        K.MODIFIED,
        50,
        Decimal("101.00"),
        Decimal("100.00"),
        SL,
        50,
    )


def test_a_triggered_stop_stays_awake_while_it_is_the_same_kind_of_stop() -> None:
    stop = order(BUY, 100, SL, "101.00", "100.00", seen=NOON)
    awake = meet(stop, market(tick(100.0, bid=101.5, ask=102.0, at=later(1))), later(1)).change.order
    dearer = changed(requests.modify(awake, modify(awake, 100, SL, "101.50", "100.00"), STOCK, later(2))).order
    other = changed(requests.modify(awake, modify(awake, 100, SL_M, None, "103.00"), STOCK, later(2))).order
    assert (dearer.is_dormant, other.is_dormant) == (False, True)


@pytest.mark.parametrize(
    ("quantity", "order_type", "limit", "trigger", "why"),
    [
        (0, MARKET, None, None, "lot size"),
        (-5, MARKET, None, None, "lot size"),
        (100, LIMIT, None, None, "tick size"),
        (100, LIMIT, "100.03", None, "tick size"),
        (100, LIMIT, "-1.00", None, "tick size"),
        (100, SL_M, None, None, "tick size"),
        (100, SL, "99.00", "100.00", "wrong side"),
    ],
)
def test_impossible_terms_are_refused_with_the_reason(
    quantity: int, order_type: OrderType, limit: str | None, trigger: str | None, why: str
) -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    answer = requests.modify(resting, modify(resting, quantity, order_type, limit, trigger), STOCK, NOON)
    assert isinstance(answer, str)
    assert why in answer


def test_an_order_cannot_shrink_below_what_is_filled() -> None:
    resting = meet(order(BUY, 100, LIMIT, "99.00"), market(tick(ask=99.0, ask_quantity=30)), NOON).change.order
    assert requests.modify(resting, modify(resting, 30, LIMIT, "99.00"), STOCK, NOON) == (
        "quantity 30 must be more than the 30 already filled"
    )


def test_a_final_an_unknown_and_a_strangers_order_cannot_be_cancelled_or_changed() -> None:
    resting = order(BUY, 100, LIMIT, "99.00")
    over = end(resting, OrderStatus.CANCELLED, "", NOON).order
    stranger = cancel(resting).model_copy(update={"account_id": resting.order_id})
    assert requests.cancel(over, cancel(over), NOON) == "the order is CANCELLED already"
    assert requests.cancel(None, cancel(resting), NOON) == "the venue has no such order"
    assert requests.cancel(resting, stranger, NOON) == "the venue has no such order"
    assert requests.modify(over, modify(over, 50, LIMIT, "99.00"), STOCK, NOON) == "the order is CANCELLED already"


# Invariants

PRICES = st.integers(1900, 2100).map(lambda n: n * 0.05)
QUANTITIES = st.integers(0, 80)


@st.composite
def ticks(draw: st.DrawFn, at: datetime) -> Market:
    levels = st.lists(st.tuples(PRICES, QUANTITIES), max_size=3)
    return market(tick(draw(PRICES), bids=tuple(draw(levels)), asks=tuple(draw(levels)), at=at))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    limit, trigger = (f"{draw(st.integers(1900, 2100)) * Decimal('0.05')}" for _ in range(2))
    return order(
        draw(st.sampled_from(Side)),
        draw(st.integers(1, 200)),
        draw(st.sampled_from(OrderType)),
        limit,
        trigger,
        validity=draw(st.sampled_from(Validity)),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Order], list[Market]]:
    times = [later(n) for n in range(draw(st.integers(1, 6)))]
    return draw(st.lists(orders(), min_size=1, max_size=6)), [draw(ticks(at)) for at in times]


def play(
    book: list[Order], markets: list[Market]
) -> tuple[dict[object, Order], list[tuple[Market, ExecutionReported]]]:
    rows: dict[object, Order] = {each.order_id: each for each in book}
    said: list[tuple[Market, ExecutionReported]] = []
    for each in markets:
        swept = sweep(rows.values(), each, each.at)
        rows.update({changed.order_id: changed for changed in swept.orders})
        said.extend((each, execution) for execution in swept.executions)
    return rows, said


@given(stories())
def test_an_order_is_filled_by_the_sum_of_its_fills_and_never_beyond_its_quantity(
    story: tuple[list[Order], list[Market]],
) -> None:
    rows, said = play(*story)
    for each in rows.values():
        filled = [e.quantity for _, e in said if e.order_id == each.order_id and e.kind is K.FILLED]
        assert sum(filled) == each.filled <= each.quantity
        assert all(quantity > 0 for quantity in filled)
        assert (each.status is OrderStatus.FILLED) == (each.filled == each.quantity)


@given(stories())
def test_no_fill_is_worse_than_the_limit_or_off_the_tick(story: tuple[list[Order], list[Market]]) -> None:
    rows, said = play(*story)
    for _, execution in said:
        if execution.kind is not K.FILLED:
            continue
        assert execution.price is not None
        limit = rows[execution.order_id].limit
        assert execution.price > 0
        assert execution.price % STOCK.tick_size == 0
        if limit is not None:
            assert (limit - execution.price) * rows[execution.order_id].side.sign >= 0


@given(stories())
def test_no_market_gives_more_than_it_shows_and_none_fills_without_a_price_to_meet(
    story: tuple[list[Order], list[Market]],
) -> None:
    rows, said = play(*story)
    for each in story[1]:
        for side in Side:
            facing = each.facing(side)
            got = sum(e.quantity for m, e in said if m is each and e.kind is K.FILLED and rows[e.order_id].side is side)
            assert not got or facing
            if all(step.quantity is not None for step in facing):
                assert got <= sum(step.quantity or 0 for step in facing)


@given(stories())
def test_execution_ids_are_never_used_twice(story: tuple[list[Order], list[Market]]) -> None:
    _, said = play(*story)
    names = [execution.execution_id for _, execution in said]
    assert len(names) == len(set(names))


@given(stories())
def test_playing_the_same_markets_twice_changes_nothing_more(story: tuple[list[Order], list[Market]]) -> None:
    """openalgo#932: two roads that see the same tick fill an order once."""
    book, markets = story
    rows, _ = play(book, markets)
    again, said = play(list(rows.values()), markets[:1])
    assert [e for _, e in said if rows[e.order_id].seen] == []
    assert again == rows


@given(stories())
def test_a_watch_never_misses_an_order_that_the_market_changes(story: tuple[list[Order], list[Market]]) -> None:
    rows: dict[object, Order] = {each.order_id: each for each in story[0]}
    watch = Watch()
    for each in rows.values():
        watch.put(each, STOCK.tick_size)
    for number, look in enumerate(story[1]):
        shown = tick(
            float(look.last or 0),
            bids=tuple((float(b.price), b.quantity or 0) for b in look.bids),
            asks=tuple((float(a.price), a.quantity or 0) for a in look.asks),
            at=later(number),
        )
        stirred = watch.stirred_by(shown, 0.0)
        swept = sweep(rows.values(), market(shown), shown.received_at)
        for now in swept.orders:
            assert now.executions == rows[now.order_id].executions or now.order_id in stirred
            rows[now.order_id] = now
            watch.put(now, STOCK.tick_size)
    assert len(watch) == sum(each.is_open for each in rows.values())


def test_a_watch_knows_that_markets_round_to_whole_ticks() -> None:
    watch = Watch()
    buy, sell = order(BUY, 100, LIMIT, "99.00", seen=NOON), order(SELL, 100, LIMIT, "99.10", seen=NOON)
    rise, fall = order(BUY, 100, SL_M, trigger="99.10", seen=NOON), order(SELL, 100, SL_M, trigger="99.00", seen=NOON)
    for each in (buy, sell, rise, fall):
        watch.put(each, STOCK.tick_size)
    assert watch.stirred_by(tick(99.02, bid=98.9, ask=99.02), 0.0) == {buy.order_id, fall.order_id}
    assert watch.stirred_by(tick(99.08, bid=99.08, ask=99.2), 0.0) == {sell.order_id, rise.order_id}


def test_a_watch_ignores_older_news_of_an_order_it_knows() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    modified = changed(requests.modify(resting, modify(resting, 100, LIMIT, "101.00"), STOCK, NOON)).order
    watch = Watch()
    watch.put(modified, STOCK.tick_size)
    watch.put(resting, STOCK.tick_size)
    assert watch.stirred_by(tick(ask=100.5, bid=100.0), 0.0) == {resting.order_id}


def test_an_order_that_rests_far_away_costs_a_tick_nothing() -> None:
    watch = Watch()
    watch.put(order(BUY, 100, LIMIT, "90.00", seen=NOON), STOCK.tick_size)
    watch.put(order(SELL, 100, SL_M, trigger="85.00", seen=NOON), STOCK.tick_size)
    assert watch.stirred_by(tick(100.0, bid=99.9, ask=100.1), 0.0) == set()


def test_a_market_is_believed_only_while_it_is_fresh() -> None:
    assert market(tick()).is_fresh(later(60), timedelta(seconds=60))
    assert not market(tick()).is_fresh(later(61), timedelta(seconds=60))
