"""At midnight positions go on and the day's profit becomes balance, once."""

from datetime import timedelta

from libs.common.contracts.enums import Side
from tests.tools.reconcile.test_checks.seeding import check
from tests.tools.reconcile.world.held import ZERO
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows


def next_day() -> World:
    world = busy_world()
    world.begin_day()
    sold = world.place(world.wish(Side.SELL, 4, "120.00"), opens=False)
    world.fill(sold, 4, "120.00")
    return world


async def test_openalgo_1426_a_position_older_than_a_day_is_sound() -> None:
    report = await check(next_day().settle())
    assert report.passed, report.text()


async def test_a_day_that_begins_without_a_trade_is_sound() -> None:
    world = busy_world()
    world.begin_day()
    assert (await check(world.settle())).passed


async def test_what_was_closed_on_an_earlier_day_need_not_be_in_risk_and_what_was_closed_today_must() -> None:
    """Risk forgets it after a week."""
    for days, broken in ((1, []), (0, [Rule.COPIES])):
        world = World()
        for side in (Side.BUY, Side.SELL):
            world.fill(world.place(world.wish(side, 4, "100.00"), opens=side is Side.BUY), 4, "100.00")
        for _ in range(days):
            world.begin_day()
        world.settle().drop(rows.RiskExposure)
        report = await check(world)
        assert report.broken == broken, report.text()


async def test_a_clock_that_is_set_back_over_midnight_does_not_begin_the_day_again() -> None:
    """Seen with a clock that ran an hour ahead: trading's day had begun, and a day that began does not end earlier."""
    world = World()
    world.fill(world.place(world.wish(Side.BUY, 4, "100.00")), 4, "100.00")
    world.begin_day()
    world.now -= timedelta(hours=1)
    for strategy_id in (None, world.strategy_id):
        bought = world.place(world.wish(Side.BUY, 4, "106.00", strategy_id=strategy_id))
        world.fill(bought, 4, "106.00")
    report = await check(world.settle())
    assert report.passed, report.text()


async def test_a_days_profit_that_is_counted_on_the_next_day_again_is_named() -> None:
    world = next_day().settle()
    row = world.rows[rows.TradingPosition][0]
    world.change(rows.TradingPosition, realised_pnl=row.realised_pnl + 40)
    report = await check(world)
    assert Rule.PNL in report.broken


async def test_a_day_that_loses_its_profit_is_named() -> None:
    world = busy_world()
    world.realised = ZERO
    world.begin_day()
    report = await check(world.settle())
    assert Rule.PNL in report.broken
    assert "since its capital of" in report.text()
