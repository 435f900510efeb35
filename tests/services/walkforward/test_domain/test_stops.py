"""Stops sleep until their trigger trades, and are then market or limit orders."""

import pytest

from libs.common.contracts.enums import FeedSource, Side, Validity
from services.walkforward.domain import requests
from services.walkforward.domain.matching import meet
from tests.services.walkforward.test_domain.terms import BUY, SELL, SL, SL_M, K, fills, kinds
from tests.services.walkforward.venue import NOON, later, market, order, tick


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


@pytest.mark.parametrize("source", [FeedSource.LIVE, FeedSource.POLLED])
def test_what_traded_last_on_a_day_before_wakes_no_stop(source: FeedSource) -> None:
    """Until the first trade of a day a broker repeats an option's last price of yesterday beside the book of today."""
    book = tick(150.0, bid=79.0, ask=80.0).model_copy(update={"source": source})
    stop = order(BUY, 100, SL_M, trigger="120.00")
    asleep = meet(stop, market(book), NOON).change.order
    assert asleep.is_dormant
    traded = tick(121.0, bid=120.0, ask=121.0, at=later(1)).model_copy(update={"source": source, "volume": 75})
    assert kinds(meet(asleep, market(traded), later(1)).change.executions) == [K.TRIGGERED, K.FILLED]


def test_a_triggered_ioc_stop_expires_what_it_cannot_fill() -> None:
    stop = order(BUY, 100, SL, "101.00", "100.50", validity=Validity.IOC, seen=NOON)
    met = meet(stop, market(tick(100.5, bid=101.5, ask=102.0, at=later(1))), later(1))
    assert kinds(met.change.executions) == [K.TRIGGERED, K.EXPIRED]


def test_a_stop_that_came_when_no_price_was_known_ignores_the_prices_of_before() -> None:
    stop = requests.without_market(order(SELL, 100, SL_M, trigger="99.00"), NOON).order
    assert meet(stop, market(tick(98.0, at=later(-5))), NOON).change.order is stop
    assert meet(stop, market(tick(98.0, at=later(1))), later(1)).change.order.triggered
