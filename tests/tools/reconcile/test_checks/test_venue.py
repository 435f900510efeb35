"""The venue saw each order once, and its book agrees."""

from dataclasses import replace

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import ExecutionKind, OrderStatus, Side
from libs.common.contracts.orders import OrderCleared
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions
from tests.tools.reconcile.world.held import UNIT
from tests.tools.reconcile.world.world import World
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.VENUE, "was sent to the venue 2 times")
def an_order_is_sent_to_the_venue_twice(world: World) -> None:
    world.send(world.first(OrderStatus.FILLED).terms)


@CORRUPTIONS.of(Rule.VENUE, "never sent to the venue")
def a_submitted_order_is_never_sent(world: World) -> None:
    world.unsay("VenueOrderRequested")


@CORRUPTIONS.of(Rule.VENUE, "other terms than it was submitted")
def an_order_reaches_the_venue_at_another_price(world: World) -> None:
    world.falsify("VenueOrderRequested", 1, price="999.00")


@CORRUPTIONS.of(Rule.VENUE, "trading never submitted it")
def an_order_is_sent_to_the_venue_before_it_is_recorded(world: World) -> None:
    world.unsay("OrderSubmitted")


@CORRUPTIONS.of(Rule.VENUE, "which never answered")
def the_venue_loses_an_order(world: World) -> None:
    terms = world.wish(Side.BUY, 1, "70.00")
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT))
    world.submit(terms, 1, UNIT)


@CORRUPTIONS.of(Rule.VENUE, "was taken by the venue, and trading keeps it as SUBMITTED")
def trading_misses_that_the_venue_took_an_order(world: World) -> None:
    the_venue_loses_an_order(world)
    world.execute(list(world.orders)[-1], ExecutionKind.ACCEPTED)


@CORRUPTIONS.of(Rule.VENUE, "ended by the venue (CANCELLED), and trading keeps it as ACCEPTED")
def trading_misses_that_the_venue_cancelled(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    world.execute(resting.order_id, ExecutionKind.CANCELLED)


@CORRUPTIONS.of(Rule.VENUE, "in the venue's book, and nothing on the log tells of it")
def the_venue_has_an_order_that_nobody_sent(world: World) -> None:
    world.rows[rows.VenueOrder].append(replace(world.rows[rows.VenueOrder][0], order_id=NOWHERE))


@CORRUPTIONS.of(Rule.VENUE, "side: SELL in the venue's book, BUY in the log")
def the_venue_has_an_order_on_the_other_side(world: World) -> None:
    world.change(rows.VenueOrder, side="SELL")


@CORRUPTIONS.of(Rule.VENUE, "is not in its book")
def the_venues_book_lacks_an_order(world: World) -> None:
    world.drop(rows.VenueOrder)


@CORRUPTIONS.of(Rule.VENUE, "filled: 9 in the venue's book, 10 in the log")
def the_venues_book_says_another_quantity(world: World) -> None:
    world.change(rows.VenueOrder, filled=9)


@CORRUPTIONS.of(Rule.VENUE, "waits for the venue's answer to a change")
def a_change_is_never_answered(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingOrder]) if row.is_open)
    change = world.find("OrderModifyCleared").value.decode()
    world.change(rows.TradingOrder, place, change=change)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
