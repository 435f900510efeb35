"""A change of an order's terms, until the venue answers it."""

from decimal import Decimal

from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderType, Side
from libs.common.contracts.orders import OrderModified, OrderModifyRefused
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.venue import VenueModifyRequested
from libs.common.testing import NOON, deliver
from libs.common.testing.delivery import envelope_of
from services.trading.app import app
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    USER,
    accepted,
    change_to,
    cleared,
    execution,
    filled,
    later,
    modified,
    order_id,
)


async def test_a_change_blocks_the_dearer_margin_until_the_venue_answers(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000")
    await trading.hears(order, accepted(order))
    said = await trading.hears(change_to(order, 15, margin="1500"))
    assert names(said) == ["FundsChanged", "VenueModifyRequested"]
    assert only(VenueModifyRequested, said).quantity == 15
    assert only(FundsChanged, said).used_margin == 1500
    said = await trading.hears(modified(order, 15))
    change = only(OrderModified, said)
    assert (change.quantity, change.order_type, change.price) == (15, OrderType.LIMIT, Decimal(101))
    said = await trading.hears(change_to(order, 5, margin="500"))
    assert names(said) == ["VenueModifyRequested"]
    said = await trading.hears(modified(order, 5))
    assert only(FundsChanged, said).used_margin == 500


async def test_a_changed_order_opens_at_the_margin_of_its_new_terms(trading: Trading) -> None:
    held = cleared(Side.BUY, 10)
    leave, close = cleared(Side.SELL, 10, margin="0", unit="90"), cleared(Side.SELL, 10, margin="0", unit="80")
    await trading.hears(held, filled(held, 10), leave, change_to(leave, 10, margin="0", unit="95"), close)
    await trading.hears(modified(leave, 10), filled(close, 10))
    assert only(PositionChanged, await trading.hears(filled(leave, 10))).margin == 950


async def test_a_change_the_venue_refuses_leaves_terms_and_margin_as_they_were(trading: Trading) -> None:
    order = cleared(quantity=10, margin="1000")
    await trading.hears(order, accepted(order), change_to(order, 15, margin="1500"))
    said = await trading.hears(execution(order, ExecutionKind.MODIFY_REJECTED, reason="price band"))
    assert names(said) == ["OrderModifyRefused", "FundsChanged"]
    assert only(FundsChanged, said).used_margin == 1000
    assert only(OrderModifyRefused, said).reason == "price band"


async def test_a_change_racing_the_last_fill_is_refused_and_the_order_stays_filled(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order), change_to(order, 15), filled(order, 10, leaves=0))
    refused = execution(order, ExecutionKind.MODIFY_REJECTED, reason="the order is FILLED already")
    assert names(await trading.hears(refused)) == ["OrderModifyRefused"]
    assert only(OrderModifyRefused, await trading.hears(change_to(order, 20))).rule is DenialRule.ORDER_NOT_OPEN


async def test_a_second_change_waits_for_the_first(trading: Trading) -> None:
    order = cleared(quantity=10)
    await trading.hears(order, accepted(order), change_to(order, 15))
    refused = only(OrderModifyRefused, await trading.hears(change_to(order, 20)))
    assert refused.reason == "another change of the order is on its way"


async def test_what_risk_refused_to_change_is_told_again(trading: Trading) -> None:
    refused = OrderModifyRefused(
        order_id=order_id(), account_id=ACCOUNT, user_id=USER, rule=DenialRule.MARGIN, reason="no margin"
    )
    assert await trading.hears(refused) == [refused]


async def test_a_change_that_waited_out_an_outage_of_ours_does_not_surprise_its_owner(trading: Trading) -> None:
    """Asked for at the open and taken from Kafka an hour later it put the order at the market, or made it ten times
    as large.
    """
    order = cleared(quantity=10)
    change = change_to(order, 15)
    await trading.hears(order, accepted(order))
    said = await deliver(app, trading.connection, change, now=later(61), cause=envelope_of(change, now=NOON))
    assert names(said) == ["OrderModifyRefused"]
    assert only(OrderModifyRefused, said).rule is DenialRule.REQUEST_EXPIRED
    said = await deliver(app, trading.connection, change, now=later(59), cause=envelope_of(change, now=NOON))
    assert "VenueModifyRequested" in names(said)
