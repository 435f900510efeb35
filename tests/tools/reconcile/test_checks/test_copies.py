"""What the gateway, risk and strategy keep of others agrees with its owner."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.tools.reconcile.test_checks.seeding import NOWHERE, Corruption, Corruptions, check
from tests.tools.reconcile.world.held import UNIT, ZERO
from tests.tools.reconcile.world.world import World, busy_world
from tools.reconcile import Rule, rows

CORRUPTIONS = Corruptions()


@CORRUPTIONS.of(Rule.COPIES, "status: SUBMITTED in the gateway")
def the_gateway_shows_an_older_state(world: World) -> None:
    world.change(rows.ShownOrder, status="SUBMITTED", version=1)


@CORRUPTIONS.of(Rule.COPIES, "the gateway does not show it")
def the_gateway_lacks_an_order(world: World) -> None:
    world.drop(rows.ShownOrder)


@CORRUPTIONS.of(Rule.COPIES, "differ about its fills")
def the_gateway_shows_a_fill_twice(world: World) -> None:
    row = world.rows[rows.ShownFills][0]
    world.change(rows.ShownFills, fill_ids=[*row.fill_ids, NOWHERE], quantity=20)


@CORRUPTIONS.of(Rule.COPIES, "the gateway shows fills of 20 for")
def the_gateway_shows_a_fill_of_another_quantity(world: World) -> None:
    world.change(rows.ShownFills, quantity=20)


@CORRUPTIONS.of(Rule.COPIES, "SELL MIS'], they are of")
def the_tradebook_shows_a_purchase_as_a_sale(world: World) -> None:
    [told_of] = world.rows[rows.ShownFills][0].told_of
    world.change(rows.ShownFills, told_of=[told_of.replace("BUY", "SELL")])


@CORRUPTIONS.of(Rule.COPIES, "the gateway shows no fill")
def the_gateway_lacks_fills(world: World) -> None:
    world.drop(rows.ShownFills)


@CORRUPTIONS.of(Rule.COPIES, "quantity: 9 in the gateway, 10 in trading")
def the_gateway_shows_another_position(world: World) -> None:
    world.change(rows.ShownPosition, quantity=9)


@CORRUPTIONS.of(Rule.COPIES, "quantity: 9 in the gateway, 10 in trading")
def the_gateway_shows_another_book(world: World) -> None:
    world.change(rows.ShownBook, quantity=9)


@CORRUPTIONS.of(Rule.COPIES, "position NSE:NOWHERE MIS")
def the_gateway_shows_a_position_that_trading_has_not(world: World) -> None:
    shown = world.rows[rows.ShownPosition]
    shown.append(replace(shown[0], instrument="NSE:NOWHERE", product="MIS"))


@CORRUPTIONS.of(Rule.COPIES, "position NSE:NOWHERE MIS")
def the_gateway_shows_a_book_that_trading_has_not(world: World) -> None:
    shown = world.rows[rows.ShownBook]
    shown.append(replace(shown[0], instrument="NSE:NOWHERE", product="MIS"))


@CORRUPTIONS.of(Rule.COPIES, "is shown by the gateway, trading has none")
def the_gateway_shows_an_account_that_trading_has_not(world: World) -> None:
    shown = world.rows[rows.ShownAccount]
    shown.append(replace(shown[0], entity_id=NOWHERE))


@CORRUPTIONS.of(Rule.COPIES, "has funds in the gateway, and none in trading")
def the_gateway_shows_funds_of_an_account_that_trading_has_not(world: World) -> None:
    shown = world.rows[rows.ShownFunds]
    shown.append(replace(shown[0], account_id=NOWHERE))


@CORRUPTIONS.of(Rule.COPIES, "available")
def the_gateway_shows_other_funds(world: World) -> None:
    world.change(rows.ShownFunds, available=ZERO)


@CORRUPTIONS.of(Rule.COPIES, "version: 2 in the gateway, 1 in trading")
def the_gateway_shows_another_account(world: World) -> None:
    world.change(rows.ShownAccount, version=2)


@CORRUPTIONS.of(Rule.COPIES, "differences from the broker: [] in the gateway")
def the_gateway_hides_what_the_broker_has_otherwise(world: World) -> None:
    body = world.rows[rows.ShownComparison][0].body
    world.change(rows.ShownComparison, body=json.dumps({**json.loads(body), "differences": []}))


@CORRUPTIONS.of(Rule.COPIES, "the gateway does not show it")
def the_gateway_lacks_a_comparison_with_the_broker(world: World) -> None:
    world.drop(rows.ShownComparison)


@CORRUPTIONS.of(Rule.COPIES, "version: 2 in trading, 1 in the log")
def trading_kept_a_comparison_that_it_never_told(world: World) -> None:
    world.change(rows.TradingComparison, version=2, told="[]")


@CORRUPTIONS.of(Rule.COPIES, "of which the log never told")
def a_comparison_was_never_said(world: World) -> None:
    world.unsay("PositionsCompared")


@CORRUPTIONS.of(Rule.COPIES, "is in trading, and risk does not have it")
def risk_lacks_what_a_strategy_holds(world: World) -> None:
    """Its stop-loss would never fire."""
    held = [row.strategy_id.int != 0 for row in world.rows[rows.RiskExposure]]
    world.drop(rows.RiskExposure, held.index(True))


@CORRUPTIONS.of(Rule.COPIES, "panic scope")
def risk_missed_a_panic(world: World) -> None:
    world.drop(rows.RiskHalt)


@CORRUPTIONS.of(Rule.COPIES, "panic scope")
def the_gateway_shows_a_panic_that_was_reset(world: World) -> None:
    world.change(rows.ShownPanic, in_force=True)


@CORRUPTIONS.of(Rule.COPIES, "may trade")
def signals_did_not_hear_that_a_user_was_shut_out(world: World) -> None:
    world.drop(rows.SignalsUser)


@CORRUPTIONS.of(Rule.COPIES, "may trade")
def strategy_believes_that_a_user_is_shut_out_who_is_not(world: World) -> None:
    world.change(rows.StrategyUser, may_trade=False)


@CORRUPTIONS.of(Rule.COPIES, "square-off")
def the_gateway_shows_a_square_off_that_trading_has_not(world: World) -> None:
    world.rows[rows.ShownSquareOff].append(rows.ShownSquareOff(NOWHERE, None))


@CORRUPTIONS.of(Rule.COPIES, "square-off")
def trading_lost_a_square_off_that_was_over_an_hour_ago(world: World) -> None:
    world.rows[rows.ShownSquareOff].append(rows.ShownSquareOff(NOWHERE, world.now - timedelta(hours=1)))


@CORRUPTIONS.of(Rule.COPIES, "over: False in risk, True in trading")
def risk_keeps_an_order_open_that_is_over(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.Reservation]) if row.closed)
    world.change(rows.Reservation, place, closed=False)


@CORRUPTIONS.of(Rule.COPIES, "filled: 9 in risk, 10 in trading")
def risk_missed_a_fill(world: World) -> None:
    world.change(rows.Reservation, filled=9)


@CORRUPTIONS.of(Rule.COPIES, "change under way: True in risk")
def risk_waits_for_a_change_for_ever(world: World) -> None:
    world.change(rows.Reservation, proposed_quantity=20)


@CORRUPTIONS.of(Rule.COPIES, "risk, which does not know it")
def risk_forgot_an_order(world: World) -> None:
    world.drop(rows.Reservation)


@CORRUPTIONS.of(Rule.COPIES, "quantity: 9 in risk, 10 in trading")
def risk_has_another_position(world: World) -> None:
    world.change(rows.RiskExposure, quantity=9)


@CORRUPTIONS.of(Rule.COPIES, "pending BUY")
def risk_counts_pending_orders_that_are_not_there(world: World) -> None:
    world.change(rows.RiskExposure, pending_buy=1)


@CORRUPTIONS.of(Rule.COPIES, "order margin")
def risk_blocks_margin_for_nothing(world: World) -> None:
    row = world.rows[rows.RiskAccount][0]
    world.change(rows.RiskAccount, order_margin=row.order_margin + UNIT)


@CORRUPTIONS.of(Rule.COPIES, "margin: 60.00 in risk, 70 in trading")
def risk_sets_less_aside_for_an_order_than_trading(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.Reservation]) if row.quantity == 7)
    world.change(rows.Reservation, place, increasing=6)


@CORRUPTIONS.of(Rule.COPIES, "is in risk, and trading has none")
def risk_has_an_account_that_trading_has_not(world: World) -> None:
    kept = world.rows[rows.RiskAccount]
    kept.append(replace(kept[0], account_id=NOWHERE))


@CORRUPTIONS.of(Rule.COPIES, "opening balance")
def risk_has_an_older_balance(world: World) -> None:
    world.change(rows.RiskAccount, opening_balance=ZERO)


@CORRUPTIONS.of(Rule.COPIES, "holdings")
def an_algo_believes_to_hold_what_was_sold(world: World) -> None:
    world.change(rows.StrategyHolding, state='{"books": {"NSE:SBIN MIS": 15}}')


@CORRUPTIONS.of(Rule.COPIES, "cannot be read")
def what_an_algo_holds_is_written_in_no_known_form(world: World) -> None:
    world.change(rows.StrategyHolding, state="{")


@CORRUPTIONS.of(Rule.COPIES, "strategy")
def strategy_lacks_an_account(world: World) -> None:
    world.drop(rows.StrategyAccount)


@CORRUPTIONS.of(Rule.COPIES, "was told to be saved, and risk does not have it")
def risk_lacks_a_limit(world: World) -> None:
    world.drop(rows.KeptLimit)


@CORRUPTIONS.of(Rule.COPIES, "watched: {'DAILY_LOSS': Decimal('5000')} in risk")
def risk_watches_no_stop_loss(world: World) -> None:
    world.drop(rows.KeptWatch)


@CORRUPTIONS.of(Rule.COPIES, "watched: {'STOP_LOSS': Decimal('20000')")
def risk_watches_another_stop_loss(world: World) -> None:
    world.change(rows.KeptWatch, amount=Decimal(20_000))


@CORRUPTIONS.of(Rule.COPIES, "(order value, positions, daily loss, window, active): (None, 30,")
def risk_lets_more_positions_through(world: World) -> None:
    world.change(rows.KeptLimit, max_open_positions=30)


@CORRUPTIONS.of(Rule.COPIES, "is in force in risk, and was deleted")
def a_limit_outlives_its_deletion(world: World) -> None:
    world.change(rows.KeptLimit, 1, deleted=False, active=True)


@CORRUPTIONS.of(Rule.COPIES, "(version, terms): None in the gateway")
def the_gateway_shows_a_limit_no_more(world: World) -> None:
    world.change(rows.ShownLimit, deleted=True)


@CORRUPTIONS.of(Rule.COPIES, "was told to be saved, and the gateway does not show it")
def the_gateway_lacks_a_limit(world: World) -> None:
    world.drop(rows.ShownLimit)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
async def test_is_named(corruption: Corruption) -> None:
    await corruption.is_named()


async def test_a_square_off_that_was_over_a_week_ago_need_not_be_in_trading() -> None:
    """Trading forgets it then."""
    world = busy_world().settle()
    world.rows[rows.ShownSquareOff].append(rows.ShownSquareOff(NOWHERE, world.now - timedelta(days=7)))
    report = await check(world)
    assert report.passed, report.text()


async def test_what_an_algo_holds_in_an_account_may_be_kept_stock_by_stock() -> None:
    world = busy_world().settle()
    of_another_stock = replace(world.rows[rows.StrategyHolding][0], state='{"books": {}}')
    world.rows[rows.StrategyHolding].append(of_another_stock)
    report = await check(world)
    assert report.passed, report.text()
