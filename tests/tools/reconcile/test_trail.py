"""A counterexample is shown with every message of its order."""

from libs.common.contracts.enums import OrderStatus
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import busy_world
from tools.reconcile import Rule


async def test_the_trail_of_a_counterexample_is_every_message_of_its_order_in_time() -> None:
    world = busy_world().settle()
    world.send(world.first(OrderStatus.FILLED).terms)
    report = await check(world)
    trail = report.trails[Rule.VENUE]
    assert [each.type for each in trail] == [
        *("OrderRequested", "OrderCleared", "OrderSubmitted", "VenueOrderRequested", "ExecutionReported"),
        *("OrderAccepted", "ExecutionReported", "FillReported", "PositionChanged"),
        *("ExecutionReported", "FillReported", "PositionChanged", "VenueOrderRequested"),
    ]
    assert all(part in report.text() for part in (trail[0].id, trail[0].place, "story="))


async def test_the_first_of_several_counterexamples_is_shown_and_all_are_counted() -> None:
    world = busy_world().settle()
    first, second = list(world.orders.values())[:2]
    world.send(second.terms)
    world.send(first.terms)
    report = await check(world)
    assert report.findings.broken[Rule.VENUE] == 2
    assert report.findings.first[Rule.VENUE].about.name == f"order {second.order_id}"
