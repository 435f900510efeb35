"""Every order is decided once, by risk and by trading, and leaves as it was cleared."""

from uuid import UUID

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import OrderStatus, Side
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared, OrderModifyRefused
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions
from tests.tools.reconcile.world.held import UNIT
from tests.tools.reconcile.world.world import World
from tools.reconcile import Rule

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.DECIDED, "risk never decided")
def risk_loses_a_request(world: World) -> None:
    world.request(world.wish(Side.BUY, 1))


@CORRUPTIONS.of(Rule.DECIDED, "trading never told")
def trading_loses_a_clearance(world: World) -> None:
    terms = world.wish(Side.BUY, 1)
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT))


@CORRUPTIONS.of(Rule.DECIDED, "decided 2 times")
def risk_decides_twice(world: World) -> None:
    cleared = OrderCleared.model_validate_json(world.find("OrderCleared").value)
    world.say(topics.RISK_DECISIONS, cleared)


@CORRUPTIONS.of(Rule.DECIDED, "nobody asked for it")
def an_order_begins_at_risk(world: World) -> None:
    world.unsay("OrderRequested")


@CORRUPTIONS.of(Rule.DECIDED, "and risk decided about that 0 times")
def risk_loses_a_change(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    world.ask_for_change(resting.order_id, 9)


@CORRUPTIONS.of(Rule.DECIDED, "and risk decided about that 2 times")
def risk_decides_twice_about_a_change(world: World) -> None:
    known = world.find("OrderModifyCleared")
    world.say(topics.RISK_DECISIONS, OrderModifyCleared.model_validate_json(known.value), story=UUID(known.story))


@CORRUPTIONS.of(Rule.DECIDED, "and trading never told what became of it")
def trading_loses_the_refusal_of_a_change(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    story = world.ask_for_change(resting.order_id, 9)
    whose = {"order_id": resting.order_id, "account_id": world.account_id, "user_id": world.user_id}
    world.say(topics.RISK_DECISIONS, OrderModifyRefused(**whose, reason="too dear"), story=story)


@CORRUPTIONS.of(Rule.CLEARED, "risk never cleared it")
def an_order_is_submitted_that_risk_never_cleared(world: World) -> None:
    world.unsay("OrderCleared")


@CORRUPTIONS.of(Rule.CLEARED, "risk never cleared it")
def an_order_is_sent_that_risk_denied(world: World) -> None:
    world.send(world.first(OrderStatus.DENIED).terms)


@CORRUPTIONS.of(Rule.CLEARED, "other terms than risk cleared")
def an_order_is_submitted_ten_times_as_large(world: World) -> None:
    world.falsify("OrderSubmitted", quantity=100)


@CORRUPTIONS.of(Rule.CLEARED, "other terms than risk cleared")
def an_order_is_submitted_at_half_its_unit_margin(world: World) -> None:
    world.falsify("OrderSubmitted", unit_margin=str(UNIT / 2))


@CORRUPTIONS.of(Rule.CLEARED, "other terms than were asked for")
def an_order_is_cleared_for_the_other_side(world: World) -> None:
    world.falsify("OrderRequested", side="SELL")


@CORRUPTIONS.of(Rule.CLEARED, "was changed at its venue, and risk never cleared the change")
def a_change_is_sent_that_risk_never_cleared(world: World) -> None:
    world.unsay("OrderModifyCleared")


@CORRUPTIONS.of(Rule.DECIDED, "though nobody asked for it")
def a_change_begins_at_risk(world: World) -> None:
    world.unsay("OrderModifyRequested")


@CORRUPTIONS.of(Rule.CLEARED, "was cleared for other terms than were asked for")
def a_change_is_cleared_at_another_price(world: World) -> None:
    world.falsify("OrderModifyRequested", price="80.00")


@CORRUPTIONS.of(Rule.CLEARED, "was changed at its venue to other terms than risk cleared")
def a_change_is_sent_ten_times_as_large(world: World) -> None:
    world.falsify("VenueModifyRequested", quantity=60)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
