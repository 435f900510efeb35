"""Whether an order is right in itself: its instrument, quantity, prices and product."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.contracts.enums import DenialRule, OrderType, Product, Series, Side
from libs.common.contracts.orders import OrderCleared
from services.risk.domain.instruments import Instrument, Price
from services.risk.domain.orders import decide
from services.risk.domain.rules import Denial, denial
from tests.services.risk.scene import CALL, CONTRACTS, FUTURE, NOW, SBIN, SPOT, TODAY, order, quote
from tests.services.risk.test_domain.checking import RICH, check, held, refused


def test_an_instrument_that_nobody_listed_is_unknown() -> None:
    assert refused(order(instrument="NSE:NOSUCH")).rule is DenialRule.INSTRUMENT_UNKNOWN


def test_an_index_cannot_be_traded() -> None:
    assert refused(order(instrument=SPOT)).rule is DenialRule.INSTRUMENT_NOT_TRADABLE


def test_a_delisted_instrument_cannot_be_traded() -> None:
    delisted = Instrument.listed(CONTRACTS[0].model_copy(update={"tradable": False}))
    assert refused(order(), instrument=delisted).rule is DenialRule.INSTRUMENT_NOT_TRADABLE


def test_a_contract_trades_on_its_expiry_day_and_not_after() -> None:
    request = order(instrument=FUTURE, quantity=35, price=Decimal(24000), product=Product.NRML)
    rich = replace(RICH, opening_balance=Decimal(10**7))
    assert denial(check(request, account=rich)) is None
    next_day = NOW + timedelta(hours=12, seconds=1)
    late = request.model_copy(update={"expires_at": next_day})
    assert refused(late, now=next_day).reason == f"{FUTURE} expired on {TODAY}"


def test_the_expiry_day_is_the_indian_day() -> None:
    just_before_midnight = NOW + timedelta(hours=11, minutes=59)
    request = order(
        instrument=FUTURE, quantity=35, price=Decimal(24000), product=Product.MIS, expires_at=just_before_midnight
    )
    assert denial(check(request, now=just_before_midnight)) is None


@pytest.mark.parametrize(
    ("instrument", "product", "allowed"),
    [
        (SBIN, Product.CNC, True),
        (SBIN, Product.NRML, False),
        (CALL, Product.NRML, True),
        (CALL, Product.CNC, False),
        (CALL, Product.MIS, True),
    ],
)
def test_delivery_is_for_equities_and_carrying_for_derivatives(
    instrument: str, product: Product, allowed: bool
) -> None:
    request = order(instrument=instrument, product=product, quantity=75, price=Decimal(100))
    facts: dict[str, Any] = {"price": None}
    found = denial(check(request, **facts))
    assert (found is None) if allowed else (found is not None and found.rule is DenialRule.PRODUCT_NOT_ALLOWED)


@pytest.mark.parametrize("series", [Series.BE, Series.BZ, Series.ST, Series.SZ, Series.T, Series.XT, Series.Z])
def test_nothing_that_is_delivered_trade_by_trade_is_bought_for_the_day(series: Series) -> None:
    """Its broker refused it, on paper it was filled: nobody could have closed it on its day."""
    share = Instrument.listed(CONTRACTS[0].model_copy(update={"series": series}))
    assert refused(order(product=Product.MIS), instrument=share) == Denial(
        DenialRule.PRODUCT_NOT_ALLOWED,
        f"{SBIN} is traded for delivery alone (series {series}): use CNC",
        limit="CNC",
        value="MIS",
    )
    delivery = order(product=Product.CNC)
    found = decide(delivery, check(delivery, instrument=share))
    assert isinstance(found, OrderCleared)
    assert found.series is series, "which some brokers write into its name"
    sale = order(side=Side.SELL, product=Product.MIS, quantity=10)
    assert denial(check(sale, instrument=share, net=held(10))) is None, "what was opened before can be closed"


@pytest.mark.parametrize("series", [Series.EQ, Series.SM, Series.RR, Series.IV, None])
def test_other_shares_are_bought_for_the_day(series: Series | None) -> None:
    share = Instrument.listed(CONTRACTS[0].model_copy(update={"series": series}))
    assert denial(check(order(product=Product.MIS), instrument=share)) is None


@pytest.mark.parametrize("quantity", [0, -75])
def test_a_quantity_is_above_zero(quantity: int) -> None:
    assert refused(order(instrument=CALL, quantity=quantity)).rule is DenialRule.LOT_SIZE


def test_a_quantity_is_a_multiple_of_the_lot() -> None:
    found = refused(order(instrument=CALL, quantity=100))
    assert found == Denial(
        DenialRule.LOT_SIZE, "quantity 100 is not a multiple of the lot size 75", limit="75", value="100"
    )


@pytest.mark.parametrize(
    ("order_type", "price", "trigger"),
    [
        (OrderType.LIMIT, None, None),
        (OrderType.LIMIT, Decimal("800.03"), None),
        (OrderType.LIMIT, Decimal(0), None),
        (OrderType.LIMIT, Decimal(-5), None),
        (OrderType.SL, Decimal(800), None),
        (OrderType.SL, None, Decimal(800)),
        (OrderType.SL, Decimal(800), Decimal("800.01")),
        (OrderType.SL_M, None, None),
        (OrderType.SL_M, None, Decimal("799.99")),
    ],
)
def test_each_order_type_has_its_prices_and_they_are_on_the_tick(
    order_type: OrderType, price: Decimal | None, trigger: Decimal | None
) -> None:
    assert refused(order(order_type=order_type, price=price, trigger_price=trigger)).rule is DenialRule.TICK_SIZE


def test_a_freeze_of_600_with_a_lot_of_35_means_595() -> None:
    rich = replace(RICH, opening_balance=Decimal(10**8))
    future = {"instrument": FUTURE, "price": Decimal(24000)}
    assert denial(check(order(**future, quantity=595), account=rich)) is None
    found = refused(order(**future, quantity=630), account=rich)
    assert (found.rule, found.limit, found.value) == (DenialRule.FREEZE_QUANTITY, "595", "630")


@pytest.mark.parametrize(("price", "inside"), [("720", True), ("880", True), ("719.95", False), ("880.05", False)])
def test_a_price_stays_within_its_band(price: str, inside: bool) -> None:
    found = denial(check(order(price=Decimal(price))))
    assert (found is None) is inside
    if found:
        assert (found.rule, found.limit) == (DenialRule.PRICE_BAND, "720 to 880")


@pytest.mark.parametrize(("price", "inside"), [("990", True), ("809.95", False)])
def test_the_band_is_around_the_last_price_of_an_earlier_day(price: str, inside: bool) -> None:
    """Until the first price of today, the previous close of a quote is that of the day before it."""
    yesterday = Price.quoted(quote(SBIN, 900.0, NOW - timedelta(days=1), previous_close=700.0))
    assert (denial(check(order(price=Decimal(price)), price=yesterday)) is None) is inside


def test_a_trigger_stays_within_the_band_too() -> None:
    request = order(order_type=OrderType.SL_M, price=None, trigger_price=Decimal(900))
    assert refused(request).rule is DenialRule.PRICE_BAND


def test_a_market_order_needs_a_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    assert denial(check(request)) is None
    assert refused(request, price=None).rule is DenialRule.NO_REFERENCE_PRICE


def test_a_market_order_needs_a_fresh_price_and_hears_its_age() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    found = refused(request, now=NOW + timedelta(seconds=15.5))
    assert (found.limit, found.value) == ("15 s", "15.5 s")
    assert denial(check(request, now=NOW + timedelta(seconds=15))) is None


def test_by_night_a_market_order_hears_that_its_market_is_closed() -> None:
    """Else the age of the price reads as if the feed had failed."""
    request = order(order_type=OrderType.MARKET, price=None)
    later = NOW + timedelta(seconds=20)
    assert refused(request, now=later, market_open=False).reason.startswith("NSE is closed; the last price of ")
    assert refused(request, price=None, market_open=False).reason == "NSE is closed; NSE:SBIN has no price"
    assert "closed" not in refused(request, now=later).reason


def test_a_zero_price_is_no_price() -> None:
    request = order(order_type=OrderType.MARKET, price=None)
    assert refused(request, price=Price.quoted(quote(SBIN, 0.0))).rule is DenialRule.NO_REFERENCE_PRICE
