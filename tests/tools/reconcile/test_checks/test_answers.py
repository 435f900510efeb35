"""What clients were told of orders is held against the log."""

from dataclasses import replace

import pytest

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


@CORRUPTIONS.of(Rule.ANSWERED, "it is lost")
def an_order_that_was_answered_with_202_is_on_no_topic(world: World) -> None:
    shown = world.rows[rows.ShownOrder][0]
    world.rows[rows.ShownOrder].append(replace(shown, order_id=NOWHERE, status="REQUESTED"))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


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
