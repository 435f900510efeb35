"""What a tick is to orders."""

from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import FeedSource
from services.walkforward.domain.market import FillModel, Liquidity, Listing, market_of
from tests.services.walkforward.venue import STOCK, later, level, market, tick


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


def test_without_quotes_a_price_of_a_day_before_stands_for_nothing() -> None:
    of_yesterday = market(tick(100.0).model_copy(update={"source": FeedSource.LIVE}))
    assert (of_yesterday.last, of_yesterday.bids, of_yesterday.asks) == (None, (), ())


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


def test_a_market_is_believed_only_while_it_is_fresh() -> None:
    assert market(tick()).is_fresh(later(60), timedelta(seconds=60))
    assert not market(tick()).is_fresh(later(61), timedelta(seconds=60))
