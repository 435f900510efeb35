"""Positions, realised profit and funds are what the fills make of them, to the paisa."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.enums import Side
from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions, check
from tests.tools.reconcile.world import history, tables
from tests.tools.reconcile.world.held import NIL, UNIT, ZERO
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.POSITIONS, "quantity: 11 in trading's table, 10 in its fills")
def a_position_is_one_too_many(world: World) -> None:
    world.change(rows.TradingPosition, quantity=11)


@CORRUPTIONS.of(Rule.POSITIONS, "its fills make")
def a_position_costs_another_price(world: World) -> None:
    world.change(rows.TradingPosition, cost=world.rows[rows.TradingPosition][0].cost + 1)


@CORRUPTIONS.of(Rule.POSITIONS, "its fills sum up to 10")
def a_told_position_is_not_its_fills(world: World) -> None:
    state = {"quantity": 11, "average_price": "102.00", "realised_pnl": "0"}
    traded = {"bought_quantity": 11, "sold_quantity": 0, "bought_value": "1122", "sold_value": "0"}
    world.falsify("PositionChanged", 1, net=state | traded)


@CORRUPTIONS.of(Rule.POSITIONS, "has an average price of 103.00, its fills make")
def a_told_position_has_another_price(world: World) -> None:
    tell_otherwise(world, average_price="103.00")


@CORRUPTIONS.of(Rule.POSITIONS, "bought and sold today, its fills make")
def a_told_position_was_bought_otherwise(world: World) -> None:
    tell_otherwise(world, bought_value="1.00")


@CORRUPTIONS.of(Rule.PNL, "has realised 0.01, its fills")
def a_told_position_has_made_a_paisa(world: World) -> None:
    tell_otherwise(world, realised_pnl="0.01")


def tell_otherwise(world: World, **state: str) -> None:
    net = json.loads(world.find("PositionChanged", 1).value)["net"]
    world.falsify("PositionChanged", 1, net=net | state)


@CORRUPTIONS.of(Rule.POSITIONS, "version 3 follows version 1")
def a_move_of_a_position_is_missing(world: World) -> None:
    world.unsay("PositionChanged", 1)


@CORRUPTIONS.of(Rule.POSITIONS, "no row in trading's table")
def a_positions_row_is_gone(world: World) -> None:
    world.drop(rows.TradingPosition)


@CORRUPTIONS.of(Rule.POSITIONS, "is 3 in trading's table, its fills sum up to 0")
def a_book_by_hand_is_not_its_fills(world: World) -> None:
    world.drop(rows.TradingBook)
    world.rows[rows.TradingBook].append(
        rows.TradingBook(world.account_id, "NSE:SBIN", "MIS", NIL, 3, Decimal(300), ZERO)
    )


@CORRUPTIONS.of(Rule.POSITIONS, "book of strategy")
def a_strategys_book_is_one_short(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingBook]) if row.strategy_id != NIL)
    world.change(rows.TradingBook, place, quantity=9)


@CORRUPTIONS.of(Rule.PNL, "in trading's table, its fills")
def realised_profit_is_a_paisa_off(world: World) -> None:
    row = world.rows[rows.TradingPosition][0]
    world.change(rows.TradingPosition, realised_pnl=row.realised_pnl + Decimal("0.01"))


@CORRUPTIONS.of(Rule.PNL, "tells a realised profit of")
def funds_tell_a_profit_that_no_fill_made(world: World) -> None:
    world.falsify("FundsChanged", -1, realised_pnl="1", available=str(world.capital + 1 - world.used))


@CORRUPTIONS.of(Rule.PNL, "since its capital of")
def a_days_profit_never_reached_the_balance(world: World) -> None:
    world.change(rows.TradingAccount, capital=world.capital + 5)


@CORRUPTIONS.of(Rule.PNL, "today, its positions")
def the_accounts_profit_is_not_its_positions(world: World) -> None:
    world.change(rows.TradingAccount, realised_pnl=world.realised + 1)


@CORRUPTIONS.of(Rule.FUNDS, "of which the log never told")
def an_accounts_funds_were_never_told(world: World) -> None:
    kept = world.rows[rows.TradingAccount]
    kept.append(replace(kept[0], account_id=NOWHERE, used_margin=ZERO))


@CORRUPTIONS.of(Rule.FUNDS, "available, but")
def what_is_available_does_not_add_up(world: World) -> None:
    world.falsify("FundsChanged", available="1")


@CORRUPTIONS.of(Rule.FUNDS, "funds version")
def a_change_of_funds_is_missing(world: World) -> None:
    world.unsay("FundsChanged", 2)


@CORRUPTIONS.of(Rule.FUNDS, "its open orders and positions block")
def margin_is_blocked_by_nothing(world: World) -> None:
    world.change(rows.TradingAccount, used_margin=world.used + UNIT)


@CORRUPTIONS.of(Rule.FUNDS, "what is left of its clearance's")
def an_order_blocks_more_than_it_was_cleared_for(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingOrder]) if row.is_open and row.quantity == 7)
    world.change(rows.TradingOrder, place, margin=UNIT * 8)


@CORRUPTIONS.of(Rule.FUNDS, "blocks a margin of 90")
def a_position_blocks_less_than_its_fills_brought(world: World) -> None:
    world.change(rows.TradingPosition, margin=UNIT * 9)


@CORRUPTIONS.of(Rule.FUNDS, "opening balance")
def the_balance_is_not_what_was_told(world: World) -> None:
    world.change(rows.TradingAccount, opening_balance=world.capital + 1)


def opened_by_an_exit(entry_of: int = 12) -> World:
    """What was to open short filled first and closed the position; what was to close it opened the short."""
    world = World()
    world.fill(world.place(world.wish(Side.BUY, 10, "100.00")), 10, "100.00")
    exits = world.place(world.wish(Side.SELL, 10, "101.00"), opens=False)
    entry = world.place(world.wish(Side.SELL, entry_of, "101.00"))
    world.fill(entry, 10, "101.00")
    world.fill(exits, 10, "101.00")
    return world


async def test_what_an_exit_opens_after_all_blocks_margin_too() -> None:
    report = await check(opened_by_an_exit().settle())
    assert report.exit_code == 0, report.text()


async def test_a_position_that_no_margin_was_blocked_for_is_named() -> None:
    world = opened_by_an_exit()
    world.falsify("PositionChanged", -1, margin="0")
    report = await check(world.settle())
    assert report.broken == [Rule.FUNDS], report.text()
    assert "blocks a margin of 0, its fills make 100" in report.text()


def before_unit_margins_were_told(world: World) -> World:
    for place, record in enumerate(world.records):
        if record.type == "OrderSubmitted":
            body = {name: value for name, value in json.loads(record.value).items() if name != "unit_margin"}
            world.records[place] = replace(record, value=json.dumps(body).encode())
    return world


async def test_a_log_of_before_unit_margins_were_told_is_judged_as_it_was_booked() -> None:
    report = await check(before_unit_margins_were_told(busy_world()).settle())
    assert report.exit_code == 0, report.text()
    report = await check(before_unit_margins_were_told(opened_by_an_exit(10)).settle())
    assert "blocks a margin of 100, its fills make 0" in report.text(), "what an exit opened blocked nothing then"


@pytest.mark.parametrize(
    ("expired_for", "left", "broken"),
    [(31, 0, []), (29, 0, [Rule.POSITIONS, Rule.COPIES]), (31, 1, [Rule.POSITIONS, Rule.FUNDS, Rule.COPIES])],
)
async def test_what_is_flat_in_a_contract_that_expired_a_month_ago_need_not_be_in_trading(
    monkeypatch: pytest.MonkeyPatch, expired_for: int, left: int, broken: list[Rule]
) -> None:
    """Trading forgets it then; the gateway still shows that it was there."""
    expiry = World().day + timedelta(days=2 - expired_for)
    for module in (history, tables):
        monkeypatch.setattr(module, "INSTRUMENT", f"NFO:NIFTY{expiry:%d%b%y}24000CE".upper())
    world = World()
    by_algo = {"strategy_id": world.strategy_id}
    world.fill(world.place(world.wish(Side.BUY, 4, "100.00", **by_algo)), 4, "100.00")
    sold = world.wish(Side.SELL, 4 - left, "101.00", **by_algo)
    world.fill(world.place(sold, opens=False), 4 - left, "101.00")
    world.begin_day()
    assert (world.day - expiry).days == expired_for
    world.settle().drop(rows.TradingPosition)
    world.drop(rows.TradingBook)
    report = await check(world)
    assert sorted(report.broken) == sorted(broken), report.text()


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()
