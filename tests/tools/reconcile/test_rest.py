"""A stack that is not at rest proves nothing, but a double is one all the same."""

from libs.common.contracts import topics
from libs.common.contracts.enums import OrderStatus
from tests.tools.reconcile.test_checks.seeding import NOWHERE, check
from tests.tools.reconcile.world.world import busy_world
from tools.reconcile import Rule, rows


async def test_prices_that_move_do_not_keep_a_stack_from_rest() -> None:
    world = busy_world().settle()
    for topic in (topics.CANDLES, topics.RISK_WATCHES):
        waiting = rows.OutboxRow(topic.name, "key", NOWHERE, "X", world.now)
        world.common[rows.OutboxRow, "risk"] = [waiting]
        assert (await check(world)).passed


async def test_a_stack_that_never_comes_to_rest_is_not_proven() -> None:
    world = busy_world().settle()
    report = await check(world, behind="trading")
    assert report.exit_code == 2
    assert "NOT AT REST: trading has not handled the" in report.text()


async def test_even_in_a_stack_that_is_not_at_rest_a_double_is_named() -> None:
    world = busy_world().settle()
    world.send(world.first(OrderStatus.FILLED).terms)
    report = await check(world, behind="gateway")
    assert report.exit_code == 1
    assert Rule.VENUE in report.broken
