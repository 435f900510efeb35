"""Every order's history is a legal path, and ends where trading keeps it."""

from dataclasses import replace

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderStatus, Side
from libs.common.contracts.orders import (
    OrderAccepted,
    OrderDenied,
    OrderRejected,
    OrderReopened,
    OrderSubmitted,
    OrderTerms,
    OrderTriggered,
)
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions
from tests.tools.reconcile.world.world import World
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.HISTORY, "OrderRejected made REJECTED of FILLED")
def a_filled_order_is_rejected(world: World) -> None:
    filled = world.first(OrderStatus.FILLED)
    world.step(filled.order_id, OrderRejected, OrderStatus.REJECTED, reason="too late")


@CORRUPTIONS.of(Rule.HISTORY, "OrderAccepted made ACCEPTED of CANCELLED")
def a_cancelled_order_comes_alive(world: World) -> None:
    over = world.first(OrderStatus.CANCELLED)
    world.step(over.order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id="WF")


@CORRUPTIONS.of(Rule.HISTORY, "no venue was found to have it", made_by_the_platform=True)
def a_rejected_order_opens_again_by_itself(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    world.step(resting.order_id, OrderRejected, OrderStatus.REJECTED, reason="not in the book")
    world.step(resting.order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id=resting.broker_order_id)


@CORRUPTIONS.of(Rule.HISTORY, "OrderReopened made ACCEPTED of CANCELLED")
def a_cancelled_order_is_found(world: World) -> None:
    over = world.first(OrderStatus.CANCELLED)
    terms = {"broker_order_id": "WF", "purpose": OrderPurpose.ENTRY, "quantity": over.quantity}
    world.step(over.order_id, OrderReopened, OrderStatus.ACCEPTED, **terms)


@CORRUPTIONS.of(Rule.HISTORY, "no venue was found to have it", made_by_the_platform=True)
def a_rejected_order_is_told_to_be_found_where_none_was(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    world.step(resting.order_id, OrderRejected, OrderStatus.REJECTED, reason="not in the book")
    terms = {"broker_order_id": resting.broker_order_id, "purpose": OrderPurpose.ENTRY, "quantity": resting.quantity}
    world.step(resting.order_id, OrderReopened, OrderStatus.ACCEPTED, **terms)


@CORRUPTIONS.of(Rule.HISTORY, "was denied while it was")
def an_order_is_denied_and_submitted(world: World) -> None:
    submitted = OrderTerms.model_validate_json(world.find("OrderSubmitted").value)
    denied = OrderDenied(**vars(submitted), rule=DenialRule.STALE_EPOCH, reason="too late")
    world.say(topics.TRADING_EVENTS, denied)


@CORRUPTIONS.of(Rule.HISTORY, "was submitted while it was")
def an_order_is_submitted_twice(world: World) -> None:
    world.say(topics.TRADING_EVENTS, OrderSubmitted.model_validate_json(world.find("OrderSubmitted").value))


@CORRUPTIONS.of(Rule.HISTORY, "FillReported made PARTIALLY_FILLED of SUBMITTED")
def an_event_is_missing(world: World) -> None:
    world.unsay("OrderAccepted")


@CORRUPTIONS.of(Rule.HISTORY, "events are missing or doubled", made_by_the_platform=True)
def a_version_is_left_out(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    resting.version += 1
    world.step(resting.order_id, OrderTriggered, OrderStatus.ACCEPTED)


@CORRUPTIONS.of(Rule.HISTORY, "doubled or late")
def an_event_is_told_twice(world: World) -> None:
    world.say(topics.TRADING_EVENTS, OrderAccepted.model_validate_json(world.find("OrderAccepted").value))


@CORRUPTIONS.of(Rule.HISTORY, "its fills are")
def an_event_counts_other_fills(world: World) -> None:
    world.falsify("OrderCancelled", filled_quantity=2)


@CORRUPTIONS.of(Rule.HISTORY, "tells an average of")
def an_average_price_is_not_that_of_the_fills(world: World) -> None:
    world.falsify("FillReported", 1, average_price="101.00")


@CORRUPTIONS.of(Rule.HISTORY, "is another order's: strategy:", made_by_the_platform=True)
def a_fill_of_an_order_by_hand_is_booked_to_an_algo(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    resting.terms["strategy_id"] = world.strategy_id
    world.fill(resting.order_id, 7, "80.00")


@CORRUPTIONS.of(Rule.HISTORY, "is another order's: side: SELL", made_by_the_platform=True)
def a_fill_is_booked_on_the_other_side(world: World) -> None:
    resting = world.first(OrderStatus.ACCEPTED)
    resting.terms["side"] = Side.SELL
    world.fill(resting.order_id, 7, "80.00")


@CORRUPTIONS.of(Rule.HISTORY, "is another order's: account:")
def an_order_of_another_account_is_cancelled(world: World) -> None:
    world.falsify("OrderCancelled", account_id=str(NOWHERE))


@CORRUPTIONS.of(Rule.HISTORY, "status: ACCEPTED in trading's table, FILLED in the log")
def the_owners_row_has_another_state(world: World) -> None:
    world.change(rows.TradingOrder, status="ACCEPTED", is_open=True)


@CORRUPTIONS.of(Rule.HISTORY, "side: SELL in trading's table, BUY in the log")
def the_owners_row_is_of_the_other_side(world: World) -> None:
    world.change(rows.TradingOrder, side="SELL")


@CORRUPTIONS.of(Rule.HISTORY, "strategy: 00000000-0000-0000-0000-000000000007 in trading's table")
def the_owners_row_is_of_another_strategy(world: World) -> None:
    world.change(rows.TradingOrder, strategy_id=NOWHERE)


@CORRUPTIONS.of(Rule.HISTORY, "epoch: 9 in trading's table")
def the_owners_row_is_of_another_epoch(world: World) -> None:
    world.change(rows.TradingOrder, epoch=9)


@CORRUPTIONS.of(Rule.HISTORY, "trading's table does not have it")
def the_owners_row_is_gone(world: World) -> None:
    world.drop(rows.TradingOrder)


@CORRUPTIONS.of(Rule.HISTORY, "the log never told of it")
def the_owner_has_an_order_of_which_it_never_told(world: World) -> None:
    world.rows[rows.TradingOrder].append(replace(world.rows[rows.TradingOrder][0], order_id=NOWHERE))


@CORRUPTIONS.of(Rule.HISTORY, "is FILLED with 6 of 10")
def an_order_is_told_to_be_filled_that_is_not(world: World) -> None:
    world.falsify("FillReported", status="FILLED")


@CORRUPTIONS.of(Rule.HISTORY, "square-offs under way")
def a_square_off_is_counted_that_is_not_there(world: World) -> None:
    world.change(rows.TradingAccount, square_offs=1)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
