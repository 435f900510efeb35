"""Every kind of corruption, seeded into a sound history, is named by the rule that it breaks, with its trail.

Each is one thing gone wrong: a message too many, a message missing, a message or a row that says something else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from libs.common.contracts import topics
from libs.common.contracts.enums import DenialRule, ExecutionKind, FeedSource, OrderPurpose, OrderStatus, Side
from libs.common.contracts.market import Quote, QuotesConflated
from libs.common.contracts.orders import (
    OrderAccepted,
    OrderCleared,
    OrderDenied,
    OrderRejected,
    OrderSubmitted,
    OrderTerms,
    OrderTriggered,
)
from libs.common.contracts.signals import SignalReceived
from libs.common.contracts.venue import ExecutionReported
from tests.tools.reconcile.memory import MemoryCache
from tests.tools.reconcile.world import BEGINNING, INSTRUMENT, NIL, UNIT, ZERO, World, busy_world
from tools.reconcile import Answered, Options, Report, Rule, reconcile, rows

NOWHERE = UUID(int=7)


@dataclass(frozen=True)
class Corruption:
    rule: Rule
    words: str
    seed: Callable[[World], None]
    before_settling: bool


CORRUPTIONS: list[Corruption] = []


def of(
    rule: Rule, words: str, *, made_by_the_platform: bool = False
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """`made_by_the_platform`: its tables tell the same wrong story as its log."""

    def keep(seed: Callable[[World], None]) -> Callable[[World], None]:
        CORRUPTIONS.append(Corruption(rule, words, seed, made_by_the_platform))
        return seed

    return keep


async def check(world: World, **more: Any) -> Report:
    return await reconcile(world.sources(**more), Options(now=world.now + timedelta(seconds=1), wait_s=0))


async def test_a_sound_history_breaks_no_rule() -> None:
    report = await check(busy_world().settle())
    assert report.passed, report.text()
    assert all(report.findings.checked[rule] for rule in Rule if rule is not Rule.CACHE)


# Lost on the way


@of(Rule.ANSWERED, "it does not exist")
def an_order_that_was_answered_with_201_is_nowhere(world: World) -> None:
    answer = b'{"order_id": "00000000-0000-0000-0000-000000000007", "status": "ACCEPTED"}'
    world.rows[rows.Answer].append(rows.Answer("key", NOWHERE, 201, answer, world.now))


@of(Rule.ANSWERED, "it never was that")
def an_order_that_was_answered_as_filled_never_was(world: World) -> None:
    resting = next(row for row in world.rows[rows.TradingOrder] if row.status == "ACCEPTED")
    answer = f'{{"order_id": "{resting.order_id}", "status": "FILLED"}}'.encode()
    world.rows[rows.Answer].append(rows.Answer("key", resting.order_id, 201, answer, world.now))


@of(Rule.ANSWERED, "was answered DENIED")
def an_order_that_was_answered_as_denied_was_filled(world: World) -> None:
    filled = next(row for row in world.rows[rows.TradingOrder] if row.status == "FILLED")
    answer = f'{{"order_id": "{filled.order_id}", "status": 422, "code": "order_denied"}}'.encode()
    world.rows[rows.Answer].append(rows.Answer("key", filled.order_id, 422, answer, world.now))


@of(Rule.ANSWERED, "it is lost")
def an_order_that_was_answered_with_202_is_on_no_topic(world: World) -> None:
    shown = world.rows[rows.ShownOrder][0]
    world.rows[rows.ShownOrder].append(replace(shown, order_id=NOWHERE, status="REQUESTED"))


@of(Rule.DECIDED, "risk never decided")
def risk_loses_a_request(world: World) -> None:
    world.request(world.wish(Side.BUY, 1))


@of(Rule.DECIDED, "trading never told")
def trading_loses_a_clearance(world: World) -> None:
    terms = world.wish(Side.BUY, 1)
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT))


@of(Rule.DECIDED, "decided 2 times")
def risk_decides_twice(world: World) -> None:
    cleared = OrderCleared.model_validate_json(world.find("OrderCleared").value)
    world.say(topics.RISK_DECISIONS, cleared)


@of(Rule.DECIDED, "nobody asked for it")
def an_order_begins_at_risk(world: World) -> None:
    world.unsay("OrderRequested")


# The state machine


@of(Rule.HISTORY, "OrderRejected made REJECTED of FILLED")
def a_filled_order_is_rejected(world: World) -> None:
    filled = next(each for each in world.orders.values() if each.status is OrderStatus.FILLED)
    world.step(filled.order_id, OrderRejected, OrderStatus.REJECTED, reason="too late")


@of(Rule.HISTORY, "OrderAccepted made ACCEPTED of CANCELLED")
def a_cancelled_order_comes_alive(world: World) -> None:
    over = next(each for each in world.orders.values() if each.status is OrderStatus.CANCELLED)
    world.step(over.order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id="WF")


@of(Rule.HISTORY, "no venue was found to have it", made_by_the_platform=True)
def a_rejected_order_opens_again_by_itself(world: World) -> None:
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    world.step(resting.order_id, OrderRejected, OrderStatus.REJECTED, reason="not in the book")
    world.step(resting.order_id, OrderAccepted, OrderStatus.ACCEPTED, broker_order_id=resting.broker_order_id)


@of(Rule.HISTORY, "was denied while it was")
def an_order_is_denied_and_submitted(world: World) -> None:
    submitted = OrderTerms.model_validate_json(world.find("OrderSubmitted").value)
    denied = OrderDenied(**vars(submitted), rule=DenialRule.STALE_EPOCH, reason="too late")
    world.say(topics.TRADING_EVENTS, denied)


@of(Rule.HISTORY, "was submitted while it was")
def an_order_is_submitted_twice(world: World) -> None:
    world.say(topics.TRADING_EVENTS, OrderSubmitted.model_validate_json(world.find("OrderSubmitted").value))


@of(Rule.HISTORY, "FillReported made PARTIALLY_FILLED of SUBMITTED")
def an_event_is_missing(world: World) -> None:
    world.unsay("OrderAccepted")


@of(Rule.HISTORY, "events are missing or doubled", made_by_the_platform=True)
def a_version_is_left_out(world: World) -> None:
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    resting.version += 1
    world.step(resting.order_id, OrderTriggered, OrderStatus.ACCEPTED)


@of(Rule.HISTORY, "doubled or late")
def an_event_is_told_twice(world: World) -> None:
    world.say(topics.TRADING_EVENTS, OrderAccepted.model_validate_json(world.find("OrderAccepted").value))


@of(Rule.HISTORY, "its fills are")
def an_event_counts_other_fills(world: World) -> None:
    world.falsify("OrderCancelled", filled_quantity=2)


@of(Rule.HISTORY, "tells an average of")
def an_average_price_is_not_that_of_the_fills(world: World) -> None:
    world.falsify("FillReported", 1, average_price="101.00")


@of(Rule.HISTORY, "status: ACCEPTED in trading's table, FILLED in the log")
def the_owners_row_has_another_state(world: World) -> None:
    world.change(rows.TradingOrder, status="ACCEPTED", is_open=True)


@of(Rule.HISTORY, "trading's table does not have it")
def the_owners_row_is_gone(world: World) -> None:
    world.drop(rows.TradingOrder)


@of(Rule.HISTORY, "the log never told of it")
def the_owner_has_an_order_of_which_it_never_told(world: World) -> None:
    world.rows[rows.TradingOrder].append(replace(world.rows[rows.TradingOrder][0], order_id=NOWHERE))


@of(Rule.HISTORY, "square-offs under way")
def a_square_off_is_counted_that_is_not_there(world: World) -> None:
    world.change(rows.TradingAccount, square_offs=1)


# Past risk, past a panic


@of(Rule.CLEARED, "risk never cleared it")
def an_order_is_submitted_that_risk_never_cleared(world: World) -> None:
    world.unsay("OrderCleared")


@of(Rule.CLEARED, "risk never cleared it")
def an_order_is_sent_that_risk_denied(world: World) -> None:
    world.send(next(each.terms for each in world.orders.values() if each.status is OrderStatus.DENIED))


@of(Rule.CLEARED, "other terms than risk cleared")
def an_order_is_submitted_ten_times_as_large(world: World) -> None:
    world.falsify("OrderSubmitted", quantity=100)


@of(Rule.CLEARED, "other terms than were asked for")
def an_order_is_cleared_for_the_other_side(world: World) -> None:
    world.falsify("OrderRequested", side="SELL")


@of(Rule.EPOCH, "when epoch 1 was in force", made_by_the_platform=True)
def an_order_that_was_cleared_before_a_panic_is_submitted_after_it(world: World) -> None:
    world.place(world.wish(Side.BUY, 1, "70.00"), epoch=0)


@of(Rule.EPOCH, "while its scope was stopped", made_by_the_platform=True)
def an_entry_is_submitted_while_everything_is_stopped(world: World) -> None:
    world.panic("ALL")
    world.place(world.wish(Side.BUY, 1, "70.00"))


@of(Rule.EPOCH, "when epoch 2 was in force", made_by_the_platform=True)
def an_exit_of_an_older_epoch_leaves_in_a_strategys_panic(world: World) -> None:
    world.panic(f"STRATEGY:{world.strategy_id}")
    terms = world.wish(Side.SELL, 1, strategy_id=world.strategy_id, purpose=OrderPurpose.SQUARE_OFF)
    world.place(terms, epoch=1, opens=False)


@of(Rule.EPOCH, "left for the venue at", made_by_the_platform=True)
def a_paused_instance_wakes_up_after_a_panic_and_sends(world: World) -> None:
    terms = world.wish(Side.BUY, 1, "70.00")
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT))
    world.submit(terms, 1, UNIT)
    kept = world.find("VenueOrderRequested", -1)
    world.records.remove(kept)
    world.panic()
    world.now += timedelta(seconds=30)
    world.records.append(replace(kept, millis=int(world.now.timestamp() * 1000)))
    world.accept(terms["order_id"])


@of(Rule.EPOCH, "a change that was cleared under epoch 0", made_by_the_platform=True)
def a_change_of_an_older_epoch_leaves(world: World) -> None:
    world.now += timedelta(seconds=30)
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    world.modify(resting.order_id, 9, epoch=0)


# The venue


@of(Rule.VENUE, "was sent to the venue 2 times")
def an_order_is_sent_to_the_venue_twice(world: World) -> None:
    world.send(next(each.terms for each in world.orders.values() if each.status is OrderStatus.FILLED))


@of(Rule.VENUE, "never sent to the venue")
def a_submitted_order_is_never_sent(world: World) -> None:
    world.unsay("VenueOrderRequested")


@of(Rule.VENUE, "other terms than it was submitted")
def an_order_reaches_the_venue_at_another_price(world: World) -> None:
    world.falsify("VenueOrderRequested", 1, price="999.00")


@of(Rule.VENUE, "trading never submitted it")
def an_order_is_sent_to_the_venue_before_it_is_recorded(world: World) -> None:
    world.unsay("OrderSubmitted")


@of(Rule.VENUE, "which never answered")
def the_venue_loses_an_order(world: World) -> None:
    terms = world.wish(Side.BUY, 1, "70.00")
    world.request(terms)
    world.say(topics.RISK_DECISIONS, OrderCleared(**terms, epoch=1, margin=UNIT))
    world.submit(terms, 1, UNIT)


@of(Rule.VENUE, "ended by the venue (CANCELLED), and trading keeps it as ACCEPTED")
def trading_misses_that_the_venue_cancelled(world: World) -> None:
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    world.execute(resting.order_id, ExecutionKind.CANCELLED)


@of(Rule.VENUE, "in the venue's book, and nothing on the log tells of it")
def the_venue_has_an_order_that_nobody_sent(world: World) -> None:
    world.rows[rows.VenueOrder].append(replace(world.rows[rows.VenueOrder][0], order_id=NOWHERE))


@of(Rule.VENUE, "is not in its book")
def the_venues_book_lacks_an_order(world: World) -> None:
    world.drop(rows.VenueOrder)


@of(Rule.VENUE, "filled: 9 in the venue's book, 10 in the log")
def the_venues_book_says_another_quantity(world: World) -> None:
    world.change(rows.VenueOrder, filled=9)


@of(Rule.VENUE, "waits for the venue's answer to a change")
def a_change_is_never_answered(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingOrder]) if row.is_open)
    change = world.find("OrderModifyCleared").value.decode()
    world.change(rows.TradingOrder, place, change=change)


# Fills


@of(Rule.FILLS, "was never booked")
def a_fill_is_lost(world: World) -> None:
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    execution_id = world.execute(resting.order_id, ExecutionKind.FILLED, 1, Decimal(80))
    world.rows[rows.BookedExecutions].append(rows.BookedExecutions(resting.order_id, [execution_id]))


@of(Rule.FILLS, "is booked a second time", made_by_the_platform=True)
def a_fill_is_booked_twice(world: World) -> None:
    """lean-alpaca#41: the broker repeats a fill."""
    first = next(iter(world.orders.values()))
    world.report_fill(first.order_id, 4, Decimal(105), first.filled_by[-1])
    world.book(first.order_id, 4, Decimal(105))


@of(Rule.FILLS, "which no venue told of", made_by_the_platform=True)
def a_fill_is_made_up(world: World) -> None:
    """nautilus#4736: a synthetic fill after a restart."""
    resting = next(each for each in world.orders.values() if each.status is OrderStatus.ACCEPTED)
    world.report_fill(resting.order_id, 7, Decimal(80), "made up")
    world.book(resting.order_id, 7, Decimal(80))


@of(Rule.FILLS, "to the venue and")
def a_fill_is_booked_at_another_price(world: World) -> None:
    world.falsify("FillReported", price="100.05")


@of(Rule.FILLS, "was told twice, differently")
def a_venue_tells_two_fills_under_one_id(world: World) -> None:
    told = ExecutionReported.model_validate_json(world.find("ExecutionReported", 1).value)
    world.say(topics.EXECUTIONS, told.model_copy(update={"quantity": told.quantity + 1}))


@of(Rule.FILLS, "are filled of an order of 10", made_by_the_platform=True)
def more_is_filled_than_was_ordered(world: World) -> None:
    """openalgo#932: one lot became two."""
    world.fill(next(iter(world.orders)), 10, "100.00")


@of(Rule.FILLS, "moved a position without being reported")
def a_position_moves_without_a_fill(world: World) -> None:
    world.unsay("FillReported")


@of(Rule.FILLS, "and no position moved")
def a_fill_moves_no_position(world: World) -> None:
    world.unsay("PositionChanged", 4)


@of(Rule.FILLS, "differ about its executions")
def the_owner_forgets_an_execution(world: World) -> None:
    world.change(rows.BookedExecutions, execution_ids=[])


@of(Rule.FILLS, "knows none of its executions")
def the_owner_forgets_all_executions_of_an_order(world: World) -> None:
    world.drop(rows.BookedExecutions)


# Positions, profit, funds


@of(Rule.POSITIONS, "quantity: 11 in trading's table, 10 in its fills")
def a_position_is_one_too_many(world: World) -> None:
    world.change(rows.TradingPosition, quantity=11)


@of(Rule.POSITIONS, "its fills make")
def a_position_costs_another_price(world: World) -> None:
    world.change(rows.TradingPosition, cost=world.rows[rows.TradingPosition][0].cost + 1)


@of(Rule.POSITIONS, "its fills sum up to 10")
def a_told_position_is_not_its_fills(world: World) -> None:
    state = {"quantity": 11, "average_price": "102.00", "realised_pnl": "0"}
    traded = {"bought_quantity": 11, "sold_quantity": 0, "bought_value": "1122", "sold_value": "0"}
    world.falsify("PositionChanged", 1, net=state | traded)


@of(Rule.POSITIONS, "version 3 follows version 1")
def a_move_of_a_position_is_missing(world: World) -> None:
    world.unsay("PositionChanged", 1)


@of(Rule.POSITIONS, "no row in trading's table")
def a_positions_row_is_gone(world: World) -> None:
    world.drop(rows.TradingPosition)


@of(Rule.POSITIONS, "is 3 in trading's table, its fills sum up to 0")
def a_book_by_hand_is_not_its_fills(world: World) -> None:
    world.drop(rows.TradingBook)
    world.rows[rows.TradingBook].append(
        rows.TradingBook(world.account_id, "NSE:SBIN", "MIS", NIL, 3, Decimal(300), ZERO)
    )


@of(Rule.POSITIONS, "book of strategy")
def a_strategys_book_is_one_short(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingBook]) if row.strategy_id != NIL)
    world.change(rows.TradingBook, place, quantity=9)


@of(Rule.PNL, "in trading's table, its fills")
def realised_profit_is_a_paisa_off(world: World) -> None:
    row = world.rows[rows.TradingPosition][0]
    world.change(rows.TradingPosition, realised_pnl=row.realised_pnl + Decimal("0.01"))


@of(Rule.PNL, "tells a realised profit of")
def funds_tell_a_profit_that_no_fill_made(world: World) -> None:
    world.falsify("FundsChanged", -1, realised_pnl="1", available=str(world.capital + 1 - world.used))


@of(Rule.PNL, "since its capital of")
def a_days_profit_never_reached_the_balance(world: World) -> None:
    world.change(rows.TradingAccount, capital=world.capital + 5)


@of(Rule.PNL, "today, its positions")
def the_accounts_profit_is_not_its_positions(world: World) -> None:
    world.change(rows.TradingAccount, realised_pnl=world.realised + 1)


@of(Rule.FUNDS, "available, but")
def what_is_available_does_not_add_up(world: World) -> None:
    world.falsify("FundsChanged", available="1")


@of(Rule.FUNDS, "funds version")
def a_change_of_funds_is_missing(world: World) -> None:
    world.unsay("FundsChanged", 2)


@of(Rule.FUNDS, "its open orders and positions block")
def margin_is_blocked_by_nothing(world: World) -> None:
    world.change(rows.TradingAccount, used_margin=world.used + UNIT)


@of(Rule.FUNDS, "what is left of its clearance's")
def an_order_blocks_more_than_it_was_cleared_for(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.TradingOrder]) if row.is_open and row.quantity == 7)
    world.change(rows.TradingOrder, place, margin=UNIT * 8)


@of(Rule.FUNDS, "blocks a margin of 90")
def a_position_blocks_less_than_its_fills_brought(world: World) -> None:
    world.change(rows.TradingPosition, margin=UNIT * 9)


@of(Rule.FUNDS, "opening balance")
def the_balance_is_not_what_was_told(world: World) -> None:
    world.change(rows.TradingAccount, opening_balance=world.capital + 1)


# Copies


@of(Rule.COPIES, "status: SUBMITTED in the gateway")
def the_gateway_shows_an_older_state(world: World) -> None:
    world.change(rows.ShownOrder, status="SUBMITTED", version=1)


@of(Rule.COPIES, "the gateway does not show it")
def the_gateway_lacks_an_order(world: World) -> None:
    world.drop(rows.ShownOrder)


@of(Rule.COPIES, "differ about its fills")
def the_gateway_shows_a_fill_twice(world: World) -> None:
    row = world.rows[rows.ShownFills][0]
    world.change(rows.ShownFills, fill_ids=[*row.fill_ids, NOWHERE], quantity=20)


@of(Rule.COPIES, "the gateway shows no fill")
def the_gateway_lacks_fills(world: World) -> None:
    world.drop(rows.ShownFills)


@of(Rule.COPIES, "quantity: 9 in the gateway, 10 in trading")
def the_gateway_shows_another_position(world: World) -> None:
    world.change(rows.ShownPosition, quantity=9)


@of(Rule.COPIES, "quantity: 9 in the gateway, 10 in trading")
def the_gateway_shows_another_book(world: World) -> None:
    world.change(rows.ShownBook, quantity=9)


@of(Rule.COPIES, "available")
def the_gateway_shows_other_funds(world: World) -> None:
    world.change(rows.ShownFunds, available=ZERO)


@of(Rule.COPIES, "version: 2 in the gateway, 1 in trading")
def the_gateway_shows_another_account(world: World) -> None:
    world.change(rows.ShownAccount, version=2)


@of(Rule.COPIES, "panic scope")
def risk_missed_a_panic(world: World) -> None:
    world.drop(rows.RiskHalt)


@of(Rule.COPIES, "panic scope")
def the_gateway_shows_a_panic_that_was_reset(world: World) -> None:
    world.change(rows.ShownPanic, in_force=True)


@of(Rule.COPIES, "square-off")
def the_gateway_shows_a_square_off_that_trading_has_not(world: World) -> None:
    world.rows[rows.ShownSquareOff].append(rows.ShownSquareOff(NOWHERE, None))


@of(Rule.COPIES, "over: False in risk, True in trading")
def risk_keeps_an_order_open_that_is_over(world: World) -> None:
    place = next(n for n, row in enumerate(world.rows[rows.Reservation]) if row.closed)
    world.change(rows.Reservation, place, closed=False)


@of(Rule.COPIES, "filled: 9 in risk, 10 in trading")
def risk_missed_a_fill(world: World) -> None:
    world.change(rows.Reservation, filled=9)


@of(Rule.COPIES, "change under way: True in risk")
def risk_waits_for_a_change_for_ever(world: World) -> None:
    world.change(rows.Reservation, proposed_quantity=20)


@of(Rule.COPIES, "risk, which does not know it")
def risk_forgot_an_order(world: World) -> None:
    world.drop(rows.Reservation)


@of(Rule.COPIES, "quantity: 9 in risk, 10 in trading")
def risk_has_another_position(world: World) -> None:
    world.change(rows.RiskExposure, quantity=9)


@of(Rule.COPIES, "pending BUY")
def risk_counts_pending_orders_that_are_not_there(world: World) -> None:
    world.change(rows.RiskExposure, pending_buy=1)


@of(Rule.COPIES, "order margin")
def risk_blocks_margin_for_nothing(world: World) -> None:
    row = world.rows[rows.RiskAccount][0]
    world.change(rows.RiskAccount, order_margin=row.order_margin + UNIT)


@of(Rule.COPIES, "opening balance")
def risk_has_an_older_balance(world: World) -> None:
    world.change(rows.RiskAccount, opening_balance=ZERO)


@of(Rule.COPIES, "holdings")
def an_algo_believes_to_hold_what_was_sold(world: World) -> None:
    world.change(rows.StrategyHolding, state='{"books": {"NSE:SBIN MIS": 15}}')


@of(Rule.COPIES, "strategy")
def strategy_lacks_an_account(world: World) -> None:
    world.drop(rows.StrategyAccount)


# Alerts


@of(Rule.SIGNALS, "told as a signal 0 times")
def an_alert_that_was_taken_is_lost(world: World) -> None:
    world.unsay("SignalReceived")


@of(Rule.SIGNALS, "told as a signal 2 times")
def an_alert_becomes_two_signals(world: World) -> None:
    world.say(topics.SIGNALS, SignalReceived.model_validate_json(world.find("SignalReceived").value))


@of(Rule.SIGNALS, "asked for on signal")
def an_algos_order_is_never_asked_for(world: World) -> None:
    world.falsify("SignalActedOn", order_ids=[str(NOWHERE)])


# What waits


@of(Rule.PARKED, "is parked in risk: ValueError: a bug")
def a_message_is_parked(world: World) -> None:
    headers = f'[["ce_id", "{NOWHERE}"], ["ce_type", "OrderRequested"]]'
    parked = rows.ParkedRow(
        1, "risk.order-requests.v1", 0, 3, "key", "OrderRequested", headers, "ValueError: a bug", world.now
    )
    world.common[rows.ParkedRow, "risk"] = [parked]


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: str(each.seed.__name__))
async def test_is_named(corruption: Corruption) -> None:
    world = busy_world()
    if corruption.before_settling:
        corruption.seed(world)
        world.settle()
    else:
        corruption.seed(world.settle())
    report = await check(world)
    assert report.exit_code == 1
    assert corruption.rule in report.broken, report.text()
    assert corruption.words in report.text(), report.text()


# Redis


def quote(at: datetime, ltp: float) -> Quote:
    shown = {"ltp": ltp, "bid": ltp, "ask": ltp, "open": ltp, "high": ltp, "low": ltp, "previous_close": ltp}
    sizes = {"bid_quantity": 1, "ask_quantity": 1, "volume": 1, "oi": 0}
    return Quote.model_validate({"instrument": INSTRUMENT, "at": at, "source": FeedSource.SIMULATED, **shown, **sizes})


async def check_cache(world: World, shown: Quote | None, sessions: dict[str, str]) -> Report:
    told = quote(world.now, 100.0)
    world.say(topics.QUOTES, QuotesConflated(shard="all", at=world.now, quotes=(told,)))
    quotes = {INSTRUMENT: shown.model_dump_json().encode()} if shown else {}
    return await check(world, cache=MemoryCache(quotes, sessions))


def session(world: World, **more: Any) -> rows.Session:
    ends = world.now + timedelta(hours=8)
    return rows.Session(
        **{
            "session_id": NOWHERE,
            "role": "trader",
            "active": True,
            "revoked_at": None,
            "expires_at": ends,
            "updated_at": world.now - timedelta(hours=1),
            **more,
        }
    )


async def test_redis_that_shows_what_its_owners_say_is_sound() -> None:
    world = busy_world().settle()
    world.rows[rows.Session].append(session(world))
    report = await check_cache(world, quote(world.now, 100.0), {str(NOWHERE): "trader"})
    assert report.passed, report.text()
    assert report.findings.checked[Rule.CACHE] == 4


@pytest.mark.parametrize(
    ("later", "ltp", "words"),
    [(timedelta(0), 101.0, "marketdata told"), (timedelta(seconds=-5), 100.0, "marketdata told one of")],
    ids=["another_price", "an_old_quote"],
)
async def test_a_quote_in_redis_that_its_owner_did_not_say_is_named(later: timedelta, ltp: float, words: str) -> None:
    world = busy_world().settle()
    report = await check_cache(world, quote(world.now + later, ltp), {})
    assert report.broken == [Rule.CACHE]
    assert words in report.text()


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (None, "knows no such session"),
        ({"revoked_at": BEGINNING - timedelta(hours=1)}, "though it has ended"),
        ({"active": False}, "though it has ended"),
        ({"role": "viewer"}, "its user is viewer"),
    ],
    ids=["made_up", "revoked", "of_a_deactivated_user", "with_an_older_role"],
)
async def test_a_session_in_redis_that_should_not_be_is_named(known: dict[str, Any] | None, words: str) -> None:
    world = busy_world().settle()
    if known is not None:
        world.rows[rows.Session].append(session(world, **known))
    report = await check_cache(world, quote(world.now, 100.0), {str(NOWHERE): "trader"})
    assert report.broken == [Rule.CACHE]
    assert words in report.text()


async def test_an_empty_redis_breaks_nothing() -> None:
    world = busy_world().settle()
    assert (await check_cache(world, None, {})).passed


# Brokers behind HTTP


def at_broker() -> World:
    """As if its account were at a broker that is called, whose book is told apart."""
    world = busy_world().settle()
    world.change(rows.TradingAccount, broker="zerodha")
    for place in range(len(world.rows[rows.TradingOrder])):
        world.change(rows.TradingOrder, place, tag=f"TAG{place}")
    return world


def in_its_book(world: World) -> list[str]:
    return [row.tag for row in world.rows[rows.TradingOrder] if row.status != "DENIED"]


async def test_a_brokers_book_that_has_each_order_once_is_sound() -> None:
    world = at_broker()
    report = await check(world, seen=tuple(in_its_book(world)))
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("book", "words"),
    [
        (lambda tags: [*tags, tags[0]], "is in the broker's book 2 times"),
        (lambda tags: tags[1:], "is not in the broker's book that took it"),
        (lambda tags: [*tags, "TAG99"], "no order of ours has that tag"),
    ],
    ids=["twice", "never", "one_that_is_not_ours"],
)
async def test_openalgo_1991_what_a_broker_saw_of_ours_is_counted(
    book: Callable[[list[str]], list[str]], words: str
) -> None:
    world = at_broker()
    report = await check(world, seen=tuple(book(in_its_book(world))))
    assert report.broken == [Rule.VENUE]
    assert words in report.text()


async def test_an_order_that_two_calls_place_is_named() -> None:
    world = at_broker()
    order_id = next(iter(world.orders))
    calls = [rows.BrokerCall(order_id, world.new_id(), 1, world.now) for _ in range(2)]
    world.rows[rows.BrokerCall].extend(calls)
    report = await check(world)
    assert Rule.VENUE in report.broken
    assert "by two calls" in report.text()


# Midnight


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


# Notes from outside, and what cannot be proven


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


async def test_a_parked_message_that_somebody_explained_breaks_nothing() -> None:
    world = busy_world().settle()
    a_message_is_parked(world)
    assert (await check(world, explained=frozenset({str(NOWHERE)}))).passed


async def test_a_request_that_somebody_discarded_is_not_called_lost() -> None:
    world = busy_world().settle()
    risk_loses_a_request(world)
    record = world.find("OrderRequested", -1)
    world.common[rows.DiscardedRow, "risk"] = [rows.DiscardedRow(record.topic, 0, record.offset)]
    report = await check(world)
    assert report.passed, report.text()
    assert "somebody gave it up" in report.text()


async def test_an_outbox_row_is_named_when_it_is_older_than_a_minute() -> None:
    world = busy_world().settle()
    said_at = world.now - timedelta(seconds=61)
    waiting = rows.OutboxRow("trading.events.v1", "key", NOWHERE, "OrderAccepted", said_at)
    world.common[rows.OutboxRow, "trading"] = [waiting]
    report = await check(world)
    assert Rule.OUTBOX in report.broken
    assert "waits in the outbox of trading for 62 s" in report.text()


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
    an_order_is_sent_to_the_venue_twice(world)
    report = await check(world, behind="gateway")
    assert report.exit_code == 1
    assert Rule.VENUE in report.broken


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


async def test_behind_what_retention_took_away_corruption_is_still_named() -> None:
    world = busy_world().settle()
    world.lost = {"trading.events.v1": 20}
    world.change(rows.TradingPosition, quantity=11)
    assert Rule.POSITIONS in (await check(world)).broken


async def test_the_trail_of_a_counterexample_is_every_message_of_its_order_in_time() -> None:
    world = busy_world().settle()
    an_order_is_sent_to_the_venue_twice(world)
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
