"""What expired is settled once, at what it was told to be worth, and shown as it was booked."""

from decimal import Decimal

import pytest

from libs.common.contracts import topics
from tests.tools.reconcile.test_checks.seeding import Corruption, Corruptions, check
from tests.tools.reconcile.world.held import INSTRUMENT, NIL
from tests.tools.reconcile.world.world import World, busy_world, expired_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions(expired_world)


async def test_a_history_with_a_settlement_is_sound() -> None:
    report = await check(expired_world().settle())
    assert report.exit_code == 0, report.text()


async def test_so_is_one_whose_settlement_came_on_the_next_day_and_was_told_again() -> None:
    world = busy_world()
    world.begin_day()
    world.expire("95.50")
    world.repeat("ContractSettled")
    world.repeat("PositionSettled")
    report = await check(world.settle())
    assert report.exit_code == 0, report.text()


async def test_so_is_one_in_which_a_broker_closed_what_was_held() -> None:
    world = busy_world()
    world.close_at_broker("98.50")
    report = await check(world.settle())
    assert report.exit_code == 0, report.text()


async def test_what_no_broker_was_seen_to_close_is_named() -> None:
    world = busy_world()
    world.close_at_broker("98.50")
    world.settle().unsay("PositionClosedAtBroker")
    report = await check(world)
    assert "its broker was not seen to close it so" in report.text()


async def test_a_book_that_waits_for_its_settlement_is_no_rest() -> None:
    world = expired_world().settle()
    world.rows[rows.WaitingBook].append(rows.WaitingBook(world.account_id, INSTRUMENT))
    report = await check(world)
    assert "waits to be settled" in str(report.unrest)


@CORRUPTIONS.of(Rule.SETTLED, "10 are settled (SELL), where 0 are held", made_by_the_platform=True)
def a_book_is_settled_twice(world: World) -> None:
    world.settle_book(world.strategy_id, Decimal("95.50"), -10)


@CORRUPTIONS.of(Rule.SETTLED, "was told twice")
def a_settlement_is_told_twice_under_one_id(world: World) -> None:
    event = world.settled[0]
    world.say(topics.TRADING_EVENTS, event)


@CORRUPTIONS.of(Rule.SETTLED, "4 are settled (SELL), where 10 are held")
def a_part_of_a_book_is_settled(world: World) -> None:
    world.falsify("PositionSettled", quantity=4)


@CORRUPTIONS.of(Rule.SETTLED, "10 are settled (BUY), where 10 are held")
def a_book_is_settled_the_wrong_way(world: World) -> None:
    world.falsify("PositionSettled", side="BUY")


@CORRUPTIONS.of(Rule.SETTLED, "was settled at 95.50, and the contract was told to be worth 95.55")
def the_price_is_another_than_was_told(world: World) -> None:
    world.falsify("ContractSettled", price="95.55")


@CORRUPTIONS.of(Rule.SETTLED, "nobody told what the contract is worth")
def the_price_was_never_told(world: World) -> None:
    world.unsay("ContractSettled")


@CORRUPTIONS.of(Rule.SETTLED, "was told to be worth 96, and 95.50 before")
def a_contract_has_two_prices(world: World) -> None:
    world.expire("96")


@CORRUPTIONS.of(Rule.SETTLED, "is worth 90 to trading")
def trading_noted_another_price(world: World) -> None:
    world.change(rows.TradingSettlement, price=Decimal(90))


@CORRUPTIONS.of(Rule.SETTLED, "trading does not know")
def trading_lost_the_price(world: World) -> None:
    world.drop(rows.TradingSettlement)


@CORRUPTIONS.of(Rule.POSITIONS, "quantity: 10 in trading's table, 0 in its fills")
def a_settlement_moved_no_position(world: World) -> None:
    world.change(rows.TradingPosition, quantity=10)


@CORRUPTIONS.of(Rule.PNL, "in trading's table, its fills")
def a_settlements_loss_was_not_booked(world: World) -> None:
    row = world.rows[rows.TradingPosition][0]
    world.change(rows.TradingPosition, realised_pnl=row.realised_pnl + 55)


@CORRUPTIONS.of(Rule.COPIES, "the gateway's tradebook does not show it")
def the_tradebook_lacks_it(world: World) -> None:
    world.drop(rows.ShownSettlement)


@CORRUPTIONS.of(Rule.COPIES, "price: 1 in the gateway's tradebook, 95.50 in trading")
def the_tradebook_shows_another_price(world: World) -> None:
    world.change(rows.ShownSettlement, price=Decimal(1))


@CORRUPTIONS.of(Rule.COPIES, "that trading never told")
def the_tradebook_shows_one_that_never_was(world: World) -> None:
    row = world.rows[rows.ShownSettlement][0]
    world.rows[rows.ShownSettlement].append(row)
    world.change(rows.ShownSettlement, fill_id=NIL)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
