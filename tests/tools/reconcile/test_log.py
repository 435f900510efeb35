"""What is on the wire twice is one message; what retention took away is no false alarm."""

from libs.common.contracts import topics
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.world import busy_world
from tools.reconcile import Rule, rows


async def test_the_same_message_twice_on_the_wire_is_no_second_one() -> None:
    world = busy_world().settle()
    for name in ("OrderRequested", "OrderCleared", "OrderSubmitted", "VenueOrderRequested", "FillReported"):
        world.repeat(name)
    report = await check(world)
    assert report.passed, report.text()
    assert report.repeats == 5


async def test_what_retention_took_away_is_no_false_alarm() -> None:
    world = busy_world().settle()
    world.lost = {"trading.events.v1": 20, "risk.order-requests.v1": 3, "walkforward.order-requests.v1": 3}
    world.lost |= {"risk.decisions.v1": 3}
    report = await check(world)
    assert report.passed, report.text()
    assert "the log does not reach back to their beginning" in report.text()


async def test_a_log_that_was_put_back_lacks_what_retention_had_taken_away_before() -> None:
    """It counts from 0 again, so nothing shows that its beginning is missing."""
    world = busy_world().settle()
    for name in ("OrderRequested", "VenueOrderRequested", "VenueModifyRequested"):
        while any(each.type == name for each in world.records):
            world.unsay(name)
    report = await check(world, at=world.now + topics.MONTH)
    assert report.passed, report.text()
    assert "the log does not reach back to their beginning" in report.text()
    report = await check(world)
    assert {Rule.DECIDED, Rule.VENUE, Rule.SIGNALS} <= set(report.broken)


async def test_behind_what_retention_took_away_corruption_is_still_named() -> None:
    world = busy_world().settle()
    world.lost = {"trading.events.v1": 20}
    world.change(rows.TradingPosition, quantity=11)
    assert Rule.POSITIONS in (await check(world)).broken
