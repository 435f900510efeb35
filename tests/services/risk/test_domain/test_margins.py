"""What an order blocks of an account's margin."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import DenialRule, FeedSource, OrderType, Product, Side
from libs.common.contracts.orders import OrderCleared, OrderRequested
from services.risk.domain.instruments import Price
from services.risk.domain.orders import decide
from services.risk.domain.rules import denial
from tests.services.risk.scene import CALL, FUTURE, INFY, order, quote
from tests.services.risk.test_domain.checking import RICH, check, held, limit, refused


def test_an_order_beyond_the_available_margin_is_denied() -> None:
    found = refused(order(), account=replace(RICH, order_margin=Decimal(98_500)))
    assert found.reason == "margin 1,600 exceeds available margin 1,500"
    assert (found.rule, found.limit, found.value) == (DenialRule.MARGIN, "1500", "1600")


def test_realised_profit_is_available_for_margin_and_loss_is_not() -> None:
    poor = replace(RICH, opening_balance=Decimal(1500))
    assert refused(order(), account=poor).rule is DenialRule.MARGIN
    assert denial(check(order(), account=replace(poor, realised_pnl=Decimal(100)))) is None
    assert refused(order(), account=replace(RICH, realised_pnl=Decimal(-98_500))).rule is DenialRule.MARGIN


@pytest.mark.parametrize(
    ("terms", "margin"),
    [
        ({"product": Product.CNC}, "8000"),
        ({"product": Product.MIS}, "1600"),
        ({"instrument": FUTURE, "quantity": 35, "price": Decimal(24000), "product": Product.NRML}, "100800"),
        ({"instrument": FUTURE, "quantity": 35, "price": Decimal(24000), "product": Product.MIS}, "50400"),
        ({"instrument": CALL, "quantity": 75, "price": Decimal(100), "product": Product.NRML}, "7500"),
        ({"instrument": CALL, "quantity": 75, "price": Decimal(100), "side": Side.SELL}, "108045"),
        (
            {"instrument": CALL, "quantity": 75, "price": Decimal(100), "side": Side.SELL, "product": Product.NRML},
            "216090",
        ),
        ({"order_type": OrderType.MARKET, "price": None}, "1600"),
        ({"order_type": OrderType.SL_M, "price": None, "trigger_price": Decimal(850)}, "1700"),
    ],
)
def test_margin_by_kind_product_and_side(terms: dict[str, Any], margin: str) -> None:
    assert check(order(**terms)).margin == Decimal(margin)


ON_FUTURE = {"instrument": FUTURE, "quantity": 35, "price": Decimal(24000)}
ON_CALL = {"instrument": CALL, "quantity": 75, "price": Decimal(100), "side": Side.SELL}
BY_RATE: dict[str, dict[str, Any]] = {
    "EQUITY_DELIVERY": {"product": Product.CNC},
    "EQUITY_INTRADAY": {"product": Product.MIS},
    "FUTURE_CARRIED": {**ON_FUTURE, "product": Product.NRML},
    "FUTURE_INTRADAY": {**ON_FUTURE, "product": Product.MIS},
    "OPTION_SOLD_CARRIED": {**ON_CALL, "product": Product.NRML},
    "OPTION_SOLD_INTRADAY": {**ON_CALL, "product": Product.MIS},
}


@pytest.mark.parametrize("rate", BY_RATE)
def test_an_operator_sets_each_rate_by_itself(rate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of futures and of sold options are the same unless they are set: taken for each other nobody would see."""

    def margins() -> dict[str, Decimal | None]:
        return {name: check(order(**terms)).margin for name, terms in BY_RATE.items()}

    before = margins()
    monkeypatch.setenv(f"RISK_MARGIN_{rate}", "0.5")
    after = margins()
    assert [name for name in BY_RATE if after[name] != before[name]] == [rate]
    value = {"E": Decimal(8_000), "F": Decimal(840_000), "O": Decimal(1_800_750)}[rate[0]]
    assert after[rate] == value / 2


def test_openalgo_1097_a_sold_option_is_margined_on_its_strike_while_no_spot_price_is_known() -> None:
    request = order(instrument=CALL, quantity=75, price=Decimal(100), side=Side.SELL)
    assert check(request, spot=None).margin == Decimal(75 * 24000) * Decimal("0.06")


def test_an_order_that_only_reduces_blocks_nothing_and_tells_what_a_unit_would_if_it_opened() -> None:
    """Another order may fill first, and close what it was to reduce."""
    leave = order(side=Side.SELL, quantity=10)
    event = decide(leave, check(leave, net=held(10)))
    assert isinstance(event, OrderCleared)
    assert (event.margin, event.increasing, event.unit_margin) == (Decimal(0), 0, Decimal("160.00"))


def test_below_zero_nothing_opens_and_everything_closes() -> None:
    broke = replace(RICH, position_margin=Decimal(100_001))
    assert refused(order(quantity=1), account=broke).rule is DenialRule.MARGIN
    assert refused(order(side=Side.SELL, quantity=11), account=broke, net=held(10)).rule is DenialRule.MARGIN
    assert denial(check(order(side=Side.SELL), account=broke, net=held(10))) is None


def test_an_order_through_zero_blocks_margin_for_what_it_opens() -> None:
    through = check(order(side=Side.SELL, quantity=25), net=held(10))
    assert (through.reducing, through.margin) == (10, Decimal("2400.00"))


@pytest.mark.parametrize("premium", ["2", "100"])
def test_openalgo_815_972_a_sold_option_is_margined_on_its_underlying_and_never_on_its_premium(premium: str) -> None:
    """A lot sold at a premium of 2 blocked 130, where a broker blocks more than a lakh."""
    sold = order(instrument=CALL, quantity=75, price=Decimal(premium), side=Side.SELL, product=Product.NRML)
    assert check(sold).margin == Decimal("216090")
    assert refused(sold).rule is DenialRule.MARGIN, "an account of a lakh is too small for it"


def test_openalgo_703_a_bought_option_blocks_its_premium_and_no_more() -> None:
    """Two bought options blocked two lakhs."""
    bought = order(instrument=CALL, quantity=75, price=Decimal(2), product=Product.NRML)
    assert check(bought).margin == Decimal(150)
    assert denial(check(bought)) is None


PAISE_5 = Decimal("0.05")


AT_ONCE = [
    {"side": Side.SELL, "price": PAISE_5},
    {"side": Side.BUY, "order_type": OrderType.SL_M, "price": None, "trigger_price": PAISE_5},
]


@pytest.mark.parametrize("terms", AT_ONCE)
def test_an_order_that_trades_at_once_counts_at_the_market_and_not_at_a_price_made_up(terms: dict[str, Any]) -> None:
    """Without a price band shares for 47 lakh rupees were sold on 31.25 rupees of margin, past every limit on their
    value: the position that was opened blocked as little.
    """
    dodging = order(instrument=INFY, quantity=3125, **terms)
    at_market = order(instrument=INFY, quantity=3125, side=terms["side"], order_type=OrderType.MARKET, price=None)
    assert check(dodging).margin == check(at_market).margin
    assert refused(dodging).rule is DenialRule.MARGIN
    limits = (limit(max_order_value=Decimal(100_000)),)
    assert refused(dodging, limits=limits).rule is DenialRule.MAX_ORDER_VALUE


@pytest.mark.parametrize("terms", AT_ONCE)
@pytest.mark.parametrize("price", [None, Price.quoted(quote(INFY, 0.0))])
def test_what_trades_at_a_price_that_nobody_knows_yet_opens_nothing(terms: dict[str, Any], price: Price | None) -> None:
    """Nobody looked at the instrument, so no feed carried it; the order alone had it priced, and traded."""
    dodging = order(instrument=INFY, quantity=3125, **terms)
    found = refused(dodging, price=price)
    assert (found.rule, found.reason.partition(",")[0]) == (
        DenialRule.NO_REFERENCE_PRICE,
        "NSE:INFY has no price yet",
    )
    opposite = -3125 if terms["side"] is Side.BUY else 3125
    leaving = replace(held(opposite), instrument=INFY)
    assert denial(check(dodging, price=price, net=leaving)) is None, "what only reduces passes"


def beside_the_book(last: float, volume: int, ask: float = 100.0) -> Price:
    """Of an option for which 90 is bid and 100 asked, and that last traded at another price."""
    told = {"source": FeedSource.LIVE, "volume": volume, "bid": 90.0, "ask": ask}
    return Price.quoted(quote(CALL, last).model_copy(update=told))


def bought_and_sold_at_the_market() -> tuple[OrderRequested, OrderRequested]:
    bought = order(instrument=CALL, quantity=75, order_type=OrderType.MARKET, price=None, product=Product.NRML)
    return bought, order(instrument=CALL, quantity=75, price=PAISE_5, side=Side.SELL)


def test_what_has_not_traded_today_counts_at_its_book_and_not_at_the_price_of_a_day_before() -> None:
    """Brokers repeat that price with the time and the book of now: 75 were bought at 100 on a margin of 150."""
    untraded = beside_the_book(2.0, volume=0)
    bought, sold = bought_and_sold_at_the_market()
    assert check(bought, price=untraded).margin == Decimal(7500)
    limits = (limit(max_order_value=Decimal(7499)),)
    for wish in (bought, sold):
        assert refused(wish, price=untraded, limits=limits).value == "7500"


def test_what_trades_seldom_counts_at_the_side_of_the_book_that_it_would_trade_at() -> None:
    """It traded once, at nine, and the market has left that price since: 75 were bought at 100 on a margin of 150."""
    seldom = beside_the_book(2.0, volume=75)
    bought, sold = bought_and_sold_at_the_market()
    assert check(bought, price=seldom).margin == Decimal(7500)
    limits = (limit(max_order_value=Decimal(6749)),)
    assert [refused(wish, price=seldom, limits=limits).value for wish in (bought, sold)] == ["7500", "6750"]
    fallen = beside_the_book(150.0, volume=75)
    assert check(bought, price=fallen).margin == Decimal(11250), "the book may be gone by then"
    assert check(bought, price=beside_the_book(2.0, volume=75, ask=0.0)).margin == 150


def test_an_option_is_sold_without_a_price_of_its_own_unless_a_limit_minds_its_value() -> None:
    sold = order(instrument=CALL, quantity=75, price=Decimal(100), side=Side.SELL)
    rich = replace(RICH, opening_balance=Decimal(10**6))
    assert denial(check(sold, price=None, account=rich)) is None
    limits = (limit(max_order_value=Decimal(100_000)),)
    assert refused(sold, price=None, account=rich, limits=limits).rule is DenialRule.NO_REFERENCE_PRICE


def test_a_sellers_stop_counts_at_its_trigger_and_not_at_the_limit_behind_it() -> None:
    """It sells at what is bid when the trigger trades, which may be now."""
    stop = order(side=Side.SELL, order_type=OrderType.SL, price=PAISE_5, trigger_price=Decimal(1500), instrument=INFY)
    assert check(stop).margin == Decimal("3000.00")


def test_an_order_that_waits_for_a_price_counts_at_it() -> None:
    facts: dict[str, Any] = {"instrument": INFY, "price": Decimal(1000)}
    assert check(order(**facts)).margin == Decimal("2000.00")
    assert check(order(side=Side.SELL, **facts), price=None).margin == Decimal("2000.00")
    assert check(order(side=Side.SELL, **{**facts, "price": Decimal(3000)})).margin == Decimal("6000.00")
