"""What a person told of an order that nobody answered for: sound as he told it, and named when it is not."""

from collections.abc import Callable

import pytest

from libs.common.contracts.enums import ExecutionKind, OrderStatus, Side
from libs.common.contracts.orders import OrderOutcomeUnknown
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule


def settled_world() -> World:
    """With an order of which a part was filled, as somebody told."""
    world = busy_world()
    world.settle_by_hand(world.wish(Side.BUY, 5, "84.00"), 2, "83.50")
    return world


async def test_an_order_that_was_settled_by_hand_is_sound() -> None:
    report = await check(settled_world().settle())
    assert report.passed, report.text()


def another_quantity_was_told(world: World) -> None:
    world.falsify("OrderSettled", traded_quantity=3)


def another_price_was_told(world: World) -> None:
    world.falsify("OrderSettled", traded_price="80.00")


def it_was_said_to_have_been_refused(world: World) -> None:
    world.falsify("OrderSettled", outcome="NOT_TAKEN")


def it_was_said_to_be_open(world: World) -> None:
    world.falsify("OrderSettled", status="ACCEPTED")


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (another_quantity_was_told, "was settled as CANCELLED"),
        (another_price_was_told, "was settled as CANCELLED"),
        (it_was_said_to_have_been_refused, "was settled as NOT_TAKEN"),
        (it_was_said_to_be_open, "OrderSettled made ACCEPTED of OUTCOME_UNKNOWN"),
    ],
)
async def test_is_named(seed: Callable[[World], None], words: str) -> None:
    world = settled_world()
    seed(world)
    report = await check(world.settle())
    assert Rule.HISTORY in report.broken
    assert words in report.text()


def unseen_world(*, by_its_venue: bool = True) -> World:
    """With an order that rested when its day ended, and of which nobody saw how it ended."""
    world = busy_world()
    lost = world.first(OrderStatus.ACCEPTED).order_id
    if by_its_venue:
        world.execute(lost, ExecutionKind.UNSEEN)
    world.step(lost, OrderOutcomeUnknown, OrderStatus.OUTCOME_UNKNOWN, reason="its book is gone")
    world.cancel(lost)
    return world


async def test_an_order_whose_end_nobody_saw_is_sound() -> None:
    report = await check(unseen_world().settle())
    assert report.passed, report.text()


async def test_an_order_that_trading_alone_lost_sight_of_is_named() -> None:
    report = await check(unseen_world(by_its_venue=False).settle())
    assert report.broken == [Rule.HISTORY]
    assert "no venue has lost sight of it" in report.text()


async def test_what_is_reported_by_hand_and_nobody_told_is_named() -> None:
    world = busy_world()
    world.settle_by_hand(world.wish(Side.BUY, 5, "84.00"), 2, "83.50", is_told=False)
    report = await check(world.settle())
    assert report.broken == [Rule.HISTORY]
    assert "FILLED was reported by hand, and nobody settled it" in report.text()
