"""A split or bonus is booked once, as it was told, on whole shares that cost what they cost before."""

from datetime import date
from decimal import Decimal

import pytest

from libs.common.contracts import topics
from libs.common.contracts.portfolio import PositionAdjusted
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions, check
from tests.tools.reconcile.world.held import INSTRUMENT
from tests.tools.reconcile.world.world import World, bonus_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions(bonus_world)


async def test_a_history_with_a_bonus_is_sound() -> None:
    report = await check(bonus_world().settle())
    assert report.exit_code == 0, report.text()


async def test_so_is_one_in_which_it_was_told_again() -> None:
    world = bonus_world()
    world.repeat("CorporateActionsImported")
    world.repeat("PositionAdjusted")
    report = await check(world.settle())
    assert report.exit_code == 0, report.text()


async def test_a_position_that_waits_for_its_bonus_is_no_rest() -> None:
    world = bonus_world().settle()
    waiting = rows.WaitingAction(world.account_id, INSTRUMENT, date(2026, 11, 24), "bonus")
    world.rows[rows.WaitingAction].append(waiting)
    report = await check(world)
    assert "waits for its bonus to be booked" in str(report.unrest)


@CORRUPTIONS.of(Rule.POSITIONS, "bonus 2:1 of", made_by_the_platform=True)
def nobody_told_of_it(world: World) -> None:
    world.unsay("CorporateActionsImported")


@CORRUPTIONS.of(Rule.POSITIONS, "was booked twice")
def it_is_booked_twice(world: World) -> None:
    [record] = [record for record in world.records if record.type == "PositionAdjusted"]
    world.say(topics.TRADING_EVENTS, PositionAdjusted.model_validate_json(record.value))


@CORRUPTIONS.of(Rule.POSITIONS, "13 became 20, where 13 become 19")
def a_fraction_is_given_as_a_share(world: World) -> None:
    world.falsify("PositionAdjusted", quantity=20)


@CORRUPTIONS.of(Rule.POSITIONS, "12 became 19, where 13 become 19")
def other_shares_are_taken_for_held(world: World) -> None:
    world.falsify("PositionAdjusted", before=12)


@CORRUPTIONS.of(Rule.POSITIONS, "13 became 19, where 13 become 13")
def another_ratio_is_booked_than_was_told(world: World) -> None:
    world.falsify("PositionAdjusted", old=20, new=1)


@CORRUPTIONS.of(Rule.POSITIONS, "its books add up to")
def a_book_is_left_out(world: World) -> None:
    whose = {"strategy_id": str(world.strategy_id), "before": 9, "quantity": 13}
    world.falsify("PositionAdjusted", books=[whose])


@CORRUPTIONS.of(Rule.POSITIONS, "9 became 12, where 9 become")
def a_book_gets_the_shares_of_another(world: World) -> None:
    whose = {"strategy_id": str(world.strategy_id), "before": 9, "quantity": 12}
    by_hand = {"strategy_id": None, "before": 4, "quantity": 7}
    world.falsify("PositionAdjusted", books=[whose, by_hand])


@CORRUPTIONS.of(Rule.POSITIONS, "quantity: 13 in trading's table, 19 in its fills")
def it_moved_no_position(world: World) -> None:
    world.change(rows.TradingPosition, quantity=13)


@CORRUPTIONS.of(Rule.FUNDS, "blocks a margin of 130")
def the_fraction_still_blocks_margin(world: World) -> None:
    world.falsify("PositionChanged", place=-1, margin=str(Decimal(130)))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
