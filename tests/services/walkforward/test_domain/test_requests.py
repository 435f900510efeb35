"""Changing and cancelling orders."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import OrderStatus, OrderType
from libs.common.settings import MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.walkforward.domain import requests
from services.walkforward.domain.matching import believes, meet
from services.walkforward.domain.orders import end
from tests.services.walkforward.test_domain.terms import BUY, LIMIT, MARKET, SL, SL_M, K, changed
from tests.services.walkforward.venue import NOON, STOCK, cancel, later, market, modify, order, tick


def test_a_smaller_order_keeps_its_place_in_the_queue_and_any_other_change_loses_it() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    smaller = changed(requests.modify(resting, modify(resting, 40, LIMIT, "99.00"), STOCK, None, later(5))).order
    larger = changed(requests.modify(resting, modify(resting, 140, LIMIT, "99.00"), STOCK, None, later(5))).order
    dearer = changed(requests.modify(resting, modify(resting, 100, LIMIT, "99.05"), STOCK, None, later(5))).order
    assert [o.priority_at for o in (smaller, larger, dearer)] == [NOON, later(5), later(5)]
    assert dearer.seen is None


def test_a_modified_order_reports_its_new_terms() -> None:
    resting = order(BUY, 100, LIMIT, "99.00", seen=NOON)
    (said,) = changed(
        requests.modify(resting, modify(resting, 50, SL, "101.00", "100.00"), STOCK, None, NOON)
    ).executions
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
    dearer = changed(requests.modify(awake, modify(awake, 100, SL, "101.50", "100.00"), STOCK, None, later(2))).order
    other = changed(requests.modify(awake, modify(awake, 100, SL_M, None, "103.00"), STOCK, None, later(2))).order
    assert (dearer.is_dormant, other.is_dormant) == (False, True)


@pytest.mark.parametrize(
    ("order_type", "limit", "trigger"), [(LIMIT, "105.00", None), (SL_M, None, "99.00")], ids=["limit", "stop"]
)
def test_changed_terms_take_no_price_that_was_old_when_they_came(
    order_type: OrderType, limit: str | None, trigger: str | None
) -> None:
    """A source that is asked anew says again what traded last: a new order with these terms would wait, too."""
    resting = order(BUY, 100, LIMIT, "90.00", seen=NOON)
    change = changed(
        requests.modify(resting, modify(resting, 100, order_type, limit, trigger), STOCK, None, later(7200))
    )
    after = requests.without_market(change.order, later(7200)).order
    said_again = replace(market(tick(100.0, at=later(7205))), priced_at=later(3600))
    assert not believes(after, said_again, timedelta(seconds=60))
    assert believes(after, market(tick(100.0, at=later(7205))), timedelta(seconds=60))


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
    answer = requests.modify(resting, modify(resting, quantity, order_type, limit, trigger), STOCK, None, NOON)
    assert isinstance(answer, str)
    assert why in answer


def test_in_the_break_of_a_day_of_two_parts_no_order_is_changed_and_any_is_cancelled() -> None:
    """The drill of 2 March 2024 paused at 10:00. A change met, and was filled at, the last price before."""
    session = TradingCalendar(MarketHours.EXCHANGE).session(STOCK.exchange, date(2024, 3, 2))
    assert session is not None
    [(pause, end_of_pause)] = session.breaks
    resting = order(BUY, 100, LIMIT, "99.00", seen=session.open)
    wish = modify(resting, 100, MARKET)
    assert requests.modify(resting, wish, STOCK, session, pause) == "NSE is closed at 10:00; it trades 09:15 to 12:30"
    assert changed(requests.cancel(resting, cancel(resting), pause)).order.status is OrderStatus.CANCELLED
    for now in (pause - timedelta(microseconds=1), end_of_pause):
        assert changed(requests.modify(resting, wish, STOCK, session, now)).order.order_type is MARKET


def test_an_order_cannot_shrink_below_what_is_filled() -> None:
    resting = meet(order(BUY, 100, LIMIT, "99.00"), market(tick(ask=99.0, ask_quantity=30)), NOON).change.order
    assert requests.modify(resting, modify(resting, 30, LIMIT, "99.00"), STOCK, None, NOON) == (
        "quantity 30 must be more than the 30 already filled"
    )


def test_a_final_an_unknown_and_a_strangers_order_cannot_be_cancelled_or_changed() -> None:
    resting = order(BUY, 100, LIMIT, "99.00")
    over = end(resting, OrderStatus.CANCELLED, "", NOON).order
    stranger = cancel(resting).model_copy(update={"account_id": resting.order_id})
    assert requests.cancel(over, cancel(over), NOON) == "the order is CANCELLED already"
    assert requests.cancel(None, cancel(resting), NOON) == "the venue has no such order"
    assert requests.cancel(resting, stranger, NOON) == "the venue has no such order"
    assert (
        requests.modify(over, modify(over, 50, LIMIT, "99.00"), STOCK, None, NOON) == "the order is CANCELLED already"
    )
