"""What clients were told of orders is held against the log."""

import json
from dataclasses import replace
from uuid import UUID

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import OrderCancelRequested
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions, check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Answered, Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.ANSWERED, "it does not exist")
def an_order_that_was_answered_with_201_is_nowhere(world: World) -> None:
    answer = b'{"order_id": "00000000-0000-0000-0000-000000000007", "status": "ACCEPTED"}'
    world.rows[rows.Answer].append(rows.Answer("key", NOWHERE, 201, answer, world.now))


@CORRUPTIONS.of(Rule.ANSWERED, "it never was that")
def an_order_that_was_answered_as_filled_never_was(world: World) -> None:
    resting = next(row for row in world.rows[rows.TradingOrder] if row.status == "ACCEPTED")
    answer = f'{{"order_id": "{resting.order_id}", "status": "FILLED"}}'.encode()
    world.rows[rows.Answer].append(rows.Answer("key", resting.order_id, 201, answer, world.now))


@CORRUPTIONS.of(Rule.ANSWERED, "was answered DENIED")
def an_order_that_was_answered_as_denied_was_filled(world: World) -> None:
    filled = next(row for row in world.rows[rows.TradingOrder] if row.status == "FILLED")
    answer = f'{{"order_id": "{filled.order_id}", "status": 422, "code": "order_denied"}}'.encode()
    world.rows[rows.Answer].append(rows.Answer("key", filled.order_id, 422, answer, world.now))


def answer(world: World, wish: str, order_id: UUID, **told: object) -> None:
    """The gateway's 200 to the last wish of the kind."""
    asked = UUID(world.find(wish, -1).id)
    body = json.dumps({"order_id": str(order_id), **told}).encode()
    world.rows[rows.Answer].append(rows.Answer(f"key of {wish}", asked, 200, body, world.now))


@CORRUPTIONS.of(Rule.ANSWERED, "was answered as 60 LIMIT at 81.00, trigger None (key key of OrderModifyRequested)")
def a_change_was_answered_with_terms_that_the_order_never_had(world: World) -> None:
    changed = UUID(json.loads(world.find("OrderModified").value)["order_id"])
    terms = {"quantity": 60, "order_type": "LIMIT", "price": "81.00", "trigger_price": None}
    answer(world, "OrderModifyRequested", changed, status="ACCEPTED", **terms)


@CORRUPTIONS.of(Rule.ANSWERED, "and it was never changed")
def a_change_that_was_refused_was_answered_with_200(world: World) -> None:
    resting = next(row for row in world.rows[rows.TradingOrder] if row.status == "ACCEPTED")
    world.ask_for_change(resting.order_id, 9)
    answer(world, "OrderModifyRequested", resting.order_id, status="ACCEPTED")


@CORRUPTIONS.of(Rule.ANSWERED, "and it never was cancelled: it is ACCEPTED")
def a_cancel_was_answered_with_200_and_the_order_is_open(world: World) -> None:
    resting = next(row for row in world.rows[rows.TradingOrder] if row.status == "ACCEPTED")
    whose = {"order_id": resting.order_id, "account_id": world.account_id, "user_id": world.user_id}
    world.say(topics.TRADING_REQUESTS, OrderCancelRequested(**whose))
    answer(world, "OrderCancelRequested", resting.order_id, status="ACCEPTED")


@CORRUPTIONS.of(Rule.ANSWERED, "it is lost")
def an_order_that_was_answered_with_202_is_on_no_topic(world: World) -> None:
    shown = world.rows[rows.ShownOrder][0]
    world.rows[rows.ShownOrder].append(replace(shown, order_id=NOWHERE, status="REQUESTED"))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


async def test_changes_and_cancels_that_were_carried_out_as_they_were_answered_break_nothing() -> None:
    world = busy_world().settle()
    changed = json.loads(world.find("OrderModified").value)
    terms = {name: changed[name] for name in ("quantity", "order_type", "price", "trigger_price")}
    answer(world, "OrderModifyRequested", UUID(changed["order_id"]), status="ACCEPTED", **terms)
    answer(world, "OrderCancelRequested", world.first(OrderStatus.CANCELLED).order_id, status="CANCELLED")
    report = await check(world)
    assert report.passed, report.text()


async def test_what_a_client_was_told_is_held_against_the_log() -> None:
    world = busy_world().settle()
    sound = [Answered(order_id, 201) for order_id in world.orders if world.orders[order_id].version]
    assert (await check(world, answered=tuple(sound))).passed
    report = await check(world, answered=(*sound, Answered(NOWHERE, 202)))
    assert report.broken == [Rule.ANSWERED]
    assert f"order {NOWHERE} was answered 202 to a client, and it does not exist" in report.text()


async def test_a_client_that_was_refused_owns_nothing() -> None:
    world = busy_world().settle()
    filled = next(iter(world.orders))
    report = await check(world, answered=(Answered(filled, 422),))
    assert report.broken == [Rule.ANSWERED]
