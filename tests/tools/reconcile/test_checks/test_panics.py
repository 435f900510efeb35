"""No order leaves under an older epoch than the panic in force, nor while its scope is stopped."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts import topics
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import ExecutionKind, OrderPurpose, OrderStatus, OrderType, Side
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared
from libs.common.contracts.venue import ExecutionReported, VenueModifyRequested
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions, check
from tests.tools.reconcile.world.held import INSTRUMENT, UNIT
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


def halt(world: World) -> None:
    """By command, on the machine, as a restore does it: nobody asks for it on the log."""
    world.panic("ALL", by_admin=True)
    world.unsay("PanicRequested", -1)


def refused(world: World, answer: str) -> None:
    """Trading refuses the last panic, or reset, in the place of the answer that it gave."""
    told = json.loads(world.find(answer, -1).value)
    world.unsay(answer, -1)
    reason = {"request": f"{answer}Requested", "code": "forbidden", "reason": "an admin stopped it"}
    world.say(topics.TRADING_REFUSALS, RequestRefused(entity_id=told["panic_id"], **reason))


@CORRUPTIONS.of(Rule.EPOCH, "trading keeps None")
def trading_forgets_a_panic(world: World) -> None:
    world.drop(rows.Panic)


@CORRUPTIONS.of(Rule.EPOCH, "was told to be in force with epoch 2")
def a_panic_is_told_under_another_epoch_than_trading_keeps(world: World) -> None:
    world.falsify("PanicRaised", epoch=2)


@CORRUPTIONS.of(Rule.EPOCH, "and came into force for USER:")
def a_panic_stops_another_scope_than_was_asked_for(world: World) -> None:
    world.falsify("PanicRaised", scope=f"USER:{world.user_id}")
    world.change(rows.Panic, scope=f"USER:{world.user_id}")


@CORRUPTIONS.of(Rule.EPOCH, "and came into force for ALL")
def a_reset_begins_more_again_than_was_asked_for(world: World) -> None:
    world.falsify("PanicReset", scope="ALL")


@CORRUPTIONS.of(Rule.EPOCH, "when epoch 1 was in force", made_by_the_platform=True)
def an_order_that_was_cleared_before_a_panic_is_submitted_after_it(world: World) -> None:
    world.place(world.wish(Side.BUY, 1, "70.00"), epoch=0)


@CORRUPTIONS.of(Rule.EPOCH, "while its scope was stopped", made_by_the_platform=True)
def an_entry_is_submitted_while_everything_is_stopped(world: World) -> None:
    world.panic("ALL")
    world.place(world.wish(Side.BUY, 1, "70.00"))


@CORRUPTIONS.of(Rule.EPOCH, "when epoch 2 was in force", made_by_the_platform=True)
def an_exit_of_an_older_epoch_leaves_in_a_strategys_panic(world: World) -> None:
    world.panic(f"STRATEGY:{world.strategy_id}")
    terms = world.wish(Side.SELL, 1, strategy_id=world.strategy_id, purpose=OrderPurpose.SQUARE_OFF)
    world.place(terms, epoch=1, opens=False)


def leave_half_a_minute_after_a_panic(world: World) -> UUID:
    """An order that trading had submitted before it; whoever was to send it slept."""
    terms = world.wish(Side.BUY, 1, "70.00")
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT, unit_margin=UNIT))
    world.submit(terms, 1, UNIT)
    kept = world.find("VenueOrderRequested", -1)
    world.records.remove(kept)
    world.panic()
    world.now += timedelta(seconds=30)
    world.records.append(replace(kept, millis=int(world.now.timestamp() * 1000)))
    order_id: UUID = terms["order_id"]
    return order_id


@CORRUPTIONS.of(Rule.EPOCH, "left for the venue at", made_by_the_platform=True)
def a_paused_instance_wakes_up_after_a_panic_and_sends(world: World) -> None:
    world.accept(leave_half_a_minute_after_a_panic(world))


@CORRUPTIONS.of(Rule.EPOCH, "begun again by somebody who is none", made_by_the_platform=True)
def an_owner_resets_what_an_admin_stopped(world: World) -> None:
    world.panic("ALL", by_admin=True)
    world.reset("ALL")


@CORRUPTIONS.of(Rule.EPOCH, "while its scope was stopped", made_by_the_platform=True)
def an_entry_is_submitted_after_a_reset_that_was_refused(world: World) -> None:
    world.panic("ALL", by_admin=True)
    world.reset("ALL")
    refused(world, "PanicReset")
    world.epochs["ALL"] = (world.epochs["ALL"][0], True)
    world.place(world.wish(Side.BUY, 1, "70.00"))


@CORRUPTIONS.of(Rule.EPOCH, "while its scope was stopped", made_by_the_platform=True)
def an_entry_is_submitted_after_an_operator_stopped_everything(world: World) -> None:
    halt(world)
    world.place(world.wish(Side.BUY, 1, "70.00"))


@CORRUPTIONS.of(Rule.EPOCH, "begun again by somebody who is none", made_by_the_platform=True)
def an_owner_resets_what_an_operator_stopped(world: World) -> None:
    halt(world)
    world.reset("ALL")


@CORRUPTIONS.of(Rule.EPOCH, "was asked for, and neither came into force nor was refused", made_by_the_platform=True)
def a_panic_is_lost(world: World) -> None:
    world.panic("ALL")
    world.unsay("PanicRaised", -1)
    world.panics.pop()
    del world.epochs["ALL"]


@CORRUPTIONS.of(Rule.EPOCH, "was asked for, and neither came into force nor was refused", made_by_the_platform=True)
def a_reset_is_lost(world: World) -> None:
    world.panic("ALL")
    world.reset("ALL")
    world.unsay("PanicReset", -1)
    world.epochs["ALL"] = (1, True)


@CORRUPTIONS.of(Rule.EPOCH, "a change that was cleared under epoch 0", made_by_the_platform=True)
def a_change_of_an_older_epoch_leaves(world: World) -> None:
    world.now += timedelta(seconds=30)
    resting = world.first(OrderStatus.ACCEPTED)
    world.modify(resting.order_id, 9, epoch=0)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


async def test_a_reset_that_was_refused_is_sound() -> None:
    world = busy_world()
    world.panic("ALL", by_admin=True)
    world.reset("ALL")
    refused(world, "PanicReset")
    world.epochs["ALL"] = (1, True)
    report = await check(world.settle())
    assert report.passed, report.text()


async def test_what_an_operator_stopped_and_an_admin_began_again_is_sound() -> None:
    world = busy_world()
    halt(world)
    world.reset("ALL")
    world.falsify("PanicResetRequested", -1, by_admin=True)
    world.place(world.wish(Side.BUY, 1, "70.00"))
    report = await check(world.settle())
    assert report.passed, report.text()


async def test_an_order_that_left_long_after_a_panic_and_was_cancelled_before_it_came_is_sound() -> None:
    """Who was to send it slept; the venue had the panic's cancel already, and let it meet no market."""
    world = busy_world()
    world.cancel(leave_half_a_minute_after_a_panic(world))
    world.reset()
    report = await check(world.settle())
    assert report.passed, report.text()


async def test_a_change_that_left_long_after_a_panic_and_that_its_venue_refused_is_sound() -> None:
    """Who was to send it slept; the panic's cancel came before it, and nothing came of it."""
    world = busy_world()
    resting = world.first(OrderStatus.ACCEPTED)
    story = world.ask_for_change(resting.order_id, 9)
    whose = {"order_id": resting.order_id, "account_id": world.account_id}
    terms: dict[str, Any] = {"quantity": 9, "order_type": OrderType.LIMIT, "price": resting.terms["price"]}
    cleared = OrderModifyCleared(**whose, user_id=world.user_id, **terms, trigger_price=None, margin=UNIT * 9, epoch=1)
    world.say(topics.RISK_DECISIONS, cleared, story=story)
    world.panic()
    world.cancel(resting.order_id)
    world.now += timedelta(seconds=30)
    late = VenueModifyRequested(**whose, instrument=INSTRUMENT, **terms, trigger_price=None)
    world.say(topics.VENUE_REQUESTS, late, story=story)
    refusal = ExecutionReported(
        **whose,
        instrument=INSTRUMENT,
        kind=ExecutionKind.MODIFY_REJECTED,
        execution_id="too late",
        venue_order_id=resting.broker_order_id,
        quantity=0,
        price=None,
        executed_at=world.now,
    )
    world.say(topics.EXECUTIONS, refusal, story=story)
    world.reset()
    report = await check(world.settle())
    assert report.passed, report.text()
