"""Which orders a tick stirs."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.enums import FeedSource
from services.walkforward.domain import requests
from services.walkforward.domain.market import INFINITY, FillModel, Market, market_of, turnover_of
from services.walkforward.domain.matching import sweep
from services.walkforward.domain.orders import Order
from services.walkforward.domain.watch import Watch
from tests.services.walkforward.test_domain.stories import stories
from tests.services.walkforward.test_domain.terms import BUY, LIMIT, SELL, SL_M, changed
from tests.services.walkforward.venue import NOON, STOCK, later, modify, order, tick


@given(stories(), st.lists(st.integers(0, 80), min_size=6, max_size=6))
def test_a_watch_never_misses_an_order_that_the_market_changes(
    story: tuple[list[Order], list[Market]], traded: list[int]
) -> None:
    rows: dict[object, Order] = {each.order_id: each for each in story[0]}
    watch, before = Watch(), tick(at=later(-1))
    for each in rows.values():
        watch.put(each, STOCK.tick_size)
    for number, look in enumerate(story[1]):
        shown = tick(
            float(look.last or 0),
            bids=tuple((float(b.price), b.quantity or 0) for b in look.bids),
            asks=tuple((float(a.price), a.quantity or 0) for a in look.asks),
            volume=before.volume + traded[number],
            at=later(number),
        )
        turnover = turnover_of(shown, before)
        stirred = watch.stirred_by(shown, 0.0, float(STOCK.tick_size) if turnover else INFINITY)
        swept = sweep(rows.values(), market_of(shown, STOCK, FillModel(), turnover), shown.received_at)
        before = shown
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
    modified = changed(requests.modify(resting, modify(resting, 100, LIMIT, "101.00"), STOCK, None, NOON)).order
    watch = Watch()
    watch.put(modified, STOCK.tick_size)
    watch.put(resting, STOCK.tick_size)
    assert watch.stirred_by(tick(ask=100.5, bid=100.0), 0.0) == {resting.order_id}


def test_a_price_of_a_day_before_costs_a_stop_nothing() -> None:
    watch = Watch()
    watch.put(order(BUY, 100, SL_M, trigger="99.00", seen=NOON), STOCK.tick_size)
    watch.put(order(SELL, 100, SL_M, trigger="101.00", seen=NOON), STOCK.tick_size)
    of_yesterday = tick(100.0, bid=99.9, ask=100.1).model_copy(update={"source": FeedSource.LIVE})
    assert watch.stirred_by(of_yesterday, 0.0) == set()


def test_an_order_that_rests_far_away_costs_a_tick_nothing() -> None:
    watch = Watch()
    watch.put(order(BUY, 100, LIMIT, "90.00", seen=NOON), STOCK.tick_size)
    watch.put(order(SELL, 100, SL_M, trigger="85.00", seen=NOON), STOCK.tick_size)
    assert watch.stirred_by(tick(100.0, bid=99.9, ask=100.1), 0.0) == set()
