"""What counts as a difference between our positions and a broker's, whatever is seen in whatever order."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.contracts.enums import Product
from libs.common.contracts.ids import CorrelationId, OrderId
from libs.common.testing import NOON
from services.trading.domain import comparing
from services.trading.domain.accounts import trading_day
from services.trading.domain.book import Trade
from services.trading.domain.comparing import Comparison, Difference, Ours, Theirs
from services.trading.domain.positions import Holding, Net
from tests.services.trading.making import ACCOUNT, SBIN, USER

NAMES = {"NSE:SBIN": SBIN}
looks = st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 3), st.booleans())
"""Ours, theirs, the version of our position, whether an order is under way."""


def look(before: Comparison, ours: int, theirs: int, mark: int = 0, *, moves: bool = False) -> Comparison:
    own = [Ours("NSE:SBIN", Product.MIS, ours, mark)]
    shown = [Theirs("NSE:SBIN", SBIN, Product.MIS, theirs)]
    return comparing.compare(before, own, shown, ["NSE:SBIN"] if moves else [], NAMES, NOON)


def told(after: Comparison) -> list[tuple[int, int]]:
    return [(each.ours, each.theirs) for each in after.told]


def test_a_difference_counts_when_it_is_seen_a_second_time() -> None:
    once = look(Comparison(ACCOUNT), 10, 0)
    assert told(once) == []
    assert told(look(once, 10, 0)) == [(10, 0)]


def test_a_fill_in_between_begins_anew_though_the_quantities_are_the_same() -> None:
    once = look(Comparison(ACCOUNT), 10, 0, mark=3)
    bought_and_sold = look(once, 10, 0, mark=5)
    assert told(bought_and_sold) == []
    assert told(look(bought_and_sold, 10, 0, mark=5)) == [(10, 0)]


def test_an_order_in_between_begins_anew() -> None:
    once = look(Comparison(ACCOUNT), 10, 0)
    moving = look(once, 10, 0, moves=True)
    assert told(look(moving, 10, 0)) == []


def trade(
    number: int, quantity: int, price: int, *, side: str = "SELL", product: str = "MIS", minutes: int = 0
) -> Trade:
    at = NOON + timedelta(minutes=minutes, seconds=number)
    return Trade(str(number), f"O{number}", quantity, Decimal(price), at, "NSE:SBIN", product, side)


@pytest.mark.parametrize(
    ("ours", "trades", "price"),
    [
        (10, [trade(1, 6, 98), trade(2, 4, 97)], "97.6"),
        (-10, [trade(1, 10, 98, side="BUY")], "98"),
        pytest.param(10, [trade(1, 10, 90), trade(2, 10, 98)], "98", id="the newest closed it"),
        pytest.param(10, [trade(1, 15, 98)], None, id="more than ours"),
        pytest.param(10, [trade(1, 4, 98)], None, id="less than ours"),
        pytest.param(10, [trade(1, 10, 98, side="BUY")], None, id="the wrong way"),
        pytest.param(10, [trade(1, 10, 98, product="NRML")], None, id="another product"),
        pytest.param(10, [trade(1, 10, 98, minutes=-5)], None, id="from before it was opened"),
        pytest.param(10, [trade(1, 10, 98, minutes=1440)], None, id="of another day"),
        (10, [], None),
    ],
)
def test_what_a_broker_closed_past_us_is_booked_where_its_newest_trades_are_exactly_that(
    ours: int, trades: list[Trade], price: str | None
) -> None:
    order = OrderId(ids.derive(ids.first_of(NOON - timedelta(minutes=1)), "an order"))
    net = Net(ACCOUNT, USER, SBIN, Product.MIS, order, Holding(ours), version=3)
    after = look(look(Comparison(ACCOUNT), ours, 0, 3), ours, 0, 3)
    found = list(comparing.closed_past_us(after, (), [net], trades, trading_day(NOON)).values())
    assert [(each.quantity, each.price, each.version) for each in found] == (
        [(ours, Decimal(price), 3)] if price else []
    )
    assert not comparing.closed_past_us(after, {SBIN}, [net], trades, trading_day(NOON)), (
        "while it moves nothing is sure"
    )
    seen_otherwise = look(after, ours, ours // 2, 3)
    assert not comparing.closed_past_us(seen_otherwise, (), [net], trades, trading_day(NOON))


def test_what_was_told_stays_while_an_order_is_under_way_and_goes_when_it_is_gone() -> None:
    known = look(look(Comparison(ACCOUNT), 10, 0), 10, 0)
    assert told(look(known, 10, 10, moves=True)) == [(10, 0)]
    assert told(look(known, 10, 10)) == []


def test_another_difference_replaces_it_once_it_is_sure() -> None:
    known = look(look(Comparison(ACCOUNT), 10, 0), 10, 0)
    once = look(known, 10, 4)
    assert told(once) == [(10, 0)], "until then what was known stands"
    assert told(look(once, 10, 4)) == [(10, 4)]


def test_a_failed_look_makes_what_was_seen_once_unseen() -> None:
    failed = comparing.failed(look(Comparison(ACCOUNT), 10, 0), "it does not answer")
    assert told(look(failed, 10, 0)) == []


@given(st.lists(looks, max_size=12))
def test_whatever_is_told_was_seen_twice_in_a_row_at_rest(seen: list[tuple[int, int, int, bool]]) -> None:
    state = Comparison(ACCOUNT)
    at_rest: list[tuple[int, int, int]] = []
    ever: set[tuple[int, int]] = set()
    for ours, theirs, mark, moves in seen:
        before, state = state, look(state, ours, theirs, mark, moves=moves)
        if moves:
            at_rest = []
            assert told(state) == told(before)
            continue
        now = (ours, theirs, mark)
        if at_rest and at_rest[-1] == now:
            ever.add((ours, theirs))
            if ours != theirs:
                assert told(state) == [(ours, theirs)]
        at_rest.append(now)
        assert set(told(state)) <= ever
        if ours == theirs:
            assert told(state) == []


def test_those_who_asked_wait_for_the_second_look_and_no_longer() -> None:
    asked = Comparison(ACCOUNT, requests=(CorrelationId(ACCOUNT),))
    assert comparing.answers(look(asked, 5, 5))
    once = look(asked, 5, 0)
    assert not comparing.answers(once)
    assert comparing.answers(look(once, 5, 1)), "it changes all the time; whoever asked hears what is sure"
    assert comparing.answers(comparing.failed(asked, "it does not answer"))


def test_it_is_news_when_the_differences_change_and_not_that_they_stay() -> None:
    difference = Difference("NSE:SBIN", SBIN, Product.MIS, 1, 2)
    kept = Comparison(ACCOUNT, told=(difference,), compared_at=NOON - timedelta(minutes=1), version=1)
    assert not comparing.is_news(kept, look(kept, 1, 2, mark=9))
    assert comparing.is_news(kept, look(kept, 1, 1))
