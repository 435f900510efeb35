"""The rules, without a database."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.base import Event
from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderPurpose, OrderStatus, OrderType, Side
from libs.common.contracts.ids import FillId
from libs.common.contracts.orders import OrderAccepted, OrderFact
from libs.common.contracts.venue import ExecutionReported
from libs.common.testing import NOON
from services.trading.domain import accounts, executions, orders, panics, positions, square_offs
from services.trading.domain.money import ZERO, part_of
from services.trading.domain.orders import Order
from services.trading.domain.panics import PanicEpoch
from services.trading.domain.positions import Book, Holding, Net
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    SBIN,
    USER,
    accepted,
    account_save,
    cancelled,
    change_to,
    cleared,
    execution,
    filled,
    modified,
    order_id,
    square_off,
)

FILL_ID = FillId(order_id(99))
prices = st.decimals(min_value="0.05", max_value="99999.95", places=2)
fills = st.tuples(st.integers(-500, 500).filter(bool), prices)


def submitted(quantity: int = 10, margin: str = "1000", side: Side = Side.BUY) -> Order:
    return orders.submit(cleared(side, quantity, margin=margin))[0]


def after(order: Order, *reports: ExecutionReported) -> tuple[Order, list[Event]]:
    said: list[Event] = []
    for report in reports:
        order, events = executions.report(order, report, FILL_ID)
        said += events
    return order, said


def holding_after(*trades: tuple[int, Decimal]) -> Holding:
    holding = Holding()
    for signed, price in trades:
        holding = positions.trade(holding, signed, price)
    return holding


# Positions


@given(st.lists(fills, max_size=30))
def test_realised_profit_less_open_cost_is_exactly_the_cash_that_moved(trades: list[tuple[int, Decimal]]) -> None:
    holding = holding_after(*trades)
    cash = sum((-signed * price for signed, price in trades), ZERO)
    assert holding.quantity == sum(signed for signed, _ in trades)
    assert holding.realised_pnl - holding.cost == cash
    assert holding.sold_value - holding.bought_value == cash
    assert holding.bought_quantity - holding.sold_quantity == holding.quantity


@given(st.lists(fills, min_size=1, max_size=30), prices)
def test_a_round_trip_realises_its_cash_flow_to_the_last_digit(
    trades: list[tuple[int, Decimal]], price: Decimal
) -> None:
    open_quantity = sum(signed for signed, _ in trades)
    if open_quantity:
        trades = [*trades, (-open_quantity, price)]
    holding = holding_after(*trades)
    assert (holding.quantity, holding.cost) == (0, Decimal(0))
    assert holding.realised_pnl == sum((-signed * price for signed, price in trades), ZERO)


@given(st.lists(fills, min_size=1, max_size=10), prices, st.data())
def test_reducing_leaves_the_average_price_and_adding_moves_it(
    trades: list[tuple[int, Decimal]], price: Decimal, data: st.DataObject
) -> None:
    before = holding_after(*trades)
    if abs(before.quantity) < 2:
        return
    part = data.draw(st.integers(1, abs(before.quantity) - 1))
    reduced = positions.trade(before, -part if before.quantity > 0 else part, price)
    average = positions.state_of(before).average_price
    assert abs(positions.state_of(reduced).average_price - average) <= Decimal("0.0001")


def test_adding_averages_and_reducing_realises() -> None:
    holding = holding_after((10, Decimal(100)), (10, Decimal(110)))
    assert positions.state_of(holding).average_price == 105
    holding = positions.trade(holding, -5, Decimal(115))
    assert (holding.realised_pnl, positions.state_of(holding).average_price) == (Decimal(50), Decimal(105))


def test_crossing_zero_opens_at_the_fills_price() -> None:
    holding = holding_after((10, Decimal(100)), (-15, Decimal(90)))
    state = positions.state_of(holding)
    assert (state.quantity, state.average_price, state.realised_pnl) == (-5, Decimal(90), Decimal(-100))


def test_thirds_of_a_paisa_are_neither_made_nor_lost() -> None:
    holding = holding_after((3, Decimal("33.35")), (4, Decimal("33.40")))
    for _ in range(7):
        holding = positions.trade(holding, -1, Decimal("33.40"))
    assert holding.realised_pnl == Decimal("0.15")


def test_a_new_day_keeps_quantity_and_cost_and_forgets_the_days_figures() -> None:
    holding = positions.carry(holding_after((10, Decimal(100)), (-4, Decimal(110))))
    assert holding == Holding(quantity=6, cost=Decimal(600))


@given(st.decimals(0, 10**9, places=2), st.integers(1, 1000), st.data())
def test_parts_and_rest_are_the_whole(amount: Decimal, units: int, data: st.DataObject) -> None:
    left, total = units, ZERO
    rest = amount
    while left:
        piece = data.draw(st.integers(1, left))
        part = part_of(rest, piece, left, Decimal("0.01"))
        rest, total, left = rest - part, total + part, left - piece
    assert (rest, total) == (ZERO, amount)


# Margin


def net_of(quantity: int, margin: str) -> Net:
    holding = holding_after((quantity, Decimal(100))) if quantity else Holding()
    return Net(ACCOUNT, USER, SBIN, cleared().product, order_id(), holding, Decimal(margin))


def fill_into(net: Net, order: Order, quantity: int) -> tuple[Net, Order]:
    after_fill, _ = after(order, filled(order, quantity))
    signed = order.side.sign * quantity
    spent, margin = orders.spend_margin(order, after_fill, positions.closing(net.holding, signed))
    return positions.move(net, signed, Decimal(100), margin, order.order_id), spent


def test_opening_fills_carry_their_share_of_margin_to_the_position() -> None:
    net, order = fill_into(net_of(0, "0"), submitted(10, "1000"), 3)
    assert (net.margin, order.blocked) == (Decimal(300), Decimal(700))
    net, order = fill_into(net, order, 7)
    assert (net.margin, order.blocked) == (Decimal(1000), Decimal(0))


def test_reducing_fills_free_the_positions_margin_in_proportion() -> None:
    net, order = fill_into(net_of(10, "1000"), submitted(4, "0", Side.SELL), 4)
    assert (net.margin, order.blocked) == (Decimal(600), Decimal(0))


def test_an_order_through_zero_brings_its_whole_margin_to_what_it_opens() -> None:
    net, order = fill_into(net_of(10, "1000"), submitted(15, "500", Side.SELL), 5)
    assert (net.margin, order.blocked) == (Decimal(500), Decimal(500))
    net, order = fill_into(net, order, 10)
    assert (net.holding.quantity, net.margin, order.blocked) == (-5, Decimal(500), Decimal(0))


def test_a_fill_after_the_end_still_brings_the_margin_it_was_let_through_with() -> None:
    order, _ = after(submitted(10, "1000"), cancelled(submitted()))
    assert order.blocked == 0
    net, _ = fill_into(net_of(0, "0"), order, 4)
    assert net.margin == 400


# The order state machine

LEGAL = {
    OrderStatus.SUBMITTED: {OrderStatus.ACCEPTED, OrderStatus.OUTCOME_UNKNOWN},
    OrderStatus.OUTCOME_UNKNOWN: {OrderStatus.ACCEPTED},
    OrderStatus.ACCEPTED: {OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED},
    OrderStatus.PARTIALLY_FILLED: {OrderStatus.FILLED},
    OrderStatus.FILLED: {OrderStatus.PARTIALLY_FILLED},
}
ENDS = {OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED}
kinds = st.tuples(st.sampled_from(ExecutionKind), st.integers(1, 12), st.integers(0, 10))


@given(st.lists(kinds, max_size=14), st.booleans())
def test_whatever_a_venue_reports_an_order_stays_on_legal_paths(
    reports: list[tuple[ExecutionKind, int, int]], changing: bool
) -> None:
    order = submitted(10)
    if changing:
        order = orders.modify(order, change_to(order, 14))
    version, total = 1, 0
    for kind, quantity, leaves in reports:
        before = order
        order, said = executions.report(order, execution(order, kind, quantity, "100", leaves=leaves), FILL_ID)
        for event in said:
            if isinstance(event, OrderFact):
                version += 1
                assert event.version == version
                assert event.status is before.status or _is_legal(before.status, event.status, kind)
                before = replace(before, status=event.status)
        total += quantity if kind is ExecutionKind.FILLED else 0
        assert order.version == version
        assert order.filled_quantity == total
        assert order.blocked >= 0
        assert order.is_open or order.blocked == 0


def _is_legal(old: OrderStatus, new: OrderStatus, kind: ExecutionKind) -> bool:
    if old is OrderStatus.FILLED and new is OrderStatus.PARTIALLY_FILLED:
        return kind is ExecutionKind.MODIFIED
    if old is OrderStatus.REJECTED and kind is ExecutionKind.FOUND:
        return new in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
    if old in ENDS:
        return new is OrderStatus.FILLED and kind is ExecutionKind.FILLED
    return new in LEGAL[old] or (new in ENDS and old is not OrderStatus.FILLED)


@given(st.permutations([(4, 6), (3, 3), (3, 0)]), st.integers(0, 3))
def test_fills_in_any_order_and_the_acceptance_anywhere_end_in_the_same_order(
    pieces: list[tuple[int, int]], place: int
) -> None:
    order = submitted(10)
    reports = [filled(order, quantity, leaves=leaves) for quantity, leaves in pieces]
    reports.insert(place, accepted(order))
    done, said = after(order, *reports)
    assert (done.status, done.filled_quantity, done.average_price) == (OrderStatus.FILLED, 10, Decimal(100))
    assert [type(event) for event in said].count(OrderAccepted) == 1


def test_a_late_acceptance_of_a_filled_order_changes_nothing() -> None:
    order = submitted(10)
    done, _ = after(order, filled(order, 10))
    assert after(done, accepted(order)) == (done, [])


def test_an_order_cancelled_before_it_was_accepted_is_cancelled() -> None:
    order, said = after(submitted(), cancelled(submitted()), accepted(submitted()))
    assert order.status is OrderStatus.CANCELLED
    assert len(said) == 1


def test_an_order_whose_outcome_was_unknown_is_resolved_by_the_venues_word() -> None:
    unknown = replace(submitted(), status=OrderStatus.OUTCOME_UNKNOWN)
    assert after(unknown, accepted(unknown))[0].status is OrderStatus.ACCEPTED
    assert after(unknown, execution(unknown, ExecutionKind.REJECTED))[0].status is OrderStatus.REJECTED
    assert after(unknown, filled(unknown, 4))[0].status is OrderStatus.PARTIALLY_FILLED


def test_a_cancel_that_loses_against_the_last_fill_leaves_the_order_filled() -> None:
    order, _ = after(submitted(10), filled(submitted(), 10), cancelled(submitted()))
    assert order.status is OrderStatus.FILLED


def test_an_overfill_is_booked_and_known_as_one() -> None:
    order, _ = after(submitted(10), filled(submitted(), 7), filled(submitted(), 7))
    assert (order.filled_quantity, order.status) == (14, OrderStatus.FILLED)
    assert executions.is_overfill(order)


def test_a_change_to_what_is_filled_already_completes_the_order() -> None:
    order = orders.modify(after(submitted(10), filled(submitted(), 4, leaves=6))[0], change_to(submitted(), 6))
    order, _ = after(order, filled(order, 2, leaves=0))
    assert order.status is OrderStatus.PARTIALLY_FILLED
    order, _ = after(order, modified(order, 6))
    assert (order.status, order.quantity) == (OrderStatus.FILLED, 6)


def test_a_fill_under_larger_terms_that_overtakes_their_report_does_not_end_the_order() -> None:
    order = orders.modify(submitted(10), change_to(submitted(), 15))
    order, _ = after(order, filled(order, 10, leaves=5))
    assert order.status is OrderStatus.PARTIALLY_FILLED
    order, _ = after(order, modified(order, 15), filled(order, 5, leaves=0))
    assert (order.status, order.filled_quantity) == (OrderStatus.FILLED, 15)


def test_a_stop_order_triggers_once_and_so_was_accepted() -> None:
    order, said = after(submitted(), *[execution(submitted(), ExecutionKind.TRIGGERED)] * 2)
    assert [type(event).__name__ for event in said] == ["OrderAccepted", "OrderTriggered"]
    assert order.triggered


def test_a_fill_without_a_price_is_a_bug_of_the_venue() -> None:
    with pytest.raises(ValueError, match="has no price"):
        after(submitted(), execution(submitted(), ExecutionKind.FILLED, 5))


def test_openalgo_424_the_average_price_of_an_order_is_that_of_its_fills() -> None:
    order, _ = after(submitted(10), filled(submitted(), 3, "100.10"), filled(submitted(), 7, "100.20"))
    assert order.average_price == Decimal("100.17")


def test_a_rejected_change_leaves_the_terms() -> None:
    order = orders.modify(submitted(10, "1000"), change_to(submitted(), 15, margin="1500"))
    assert order.blocked == 1500
    order, _ = after(order, execution(order, ExecutionKind.MODIFY_REJECTED))
    assert (order.quantity, order.blocked, order.order_type) == (10, Decimal(1000), OrderType.LIMIT)


def test_terms_the_venue_chose_itself_scale_the_margin() -> None:
    order, _ = after(submitted(10, "1000"), modified(submitted(), 5))
    assert order.blocked == 500


# Tags


def test_a_tag_is_twenty_letters_and_digits_and_never_the_same_for_neighbours() -> None:
    tags = [orders.tag_of(order_id(n)) for n in range(1, 5000)]
    assert all(len(tag) == 20 and tag.isalnum() and tag == tag.upper() for tag in tags)
    assert len(set(tags)) == len(tags)


# Panics


def test_epochs_of_all_scopes_add_up() -> None:
    epochs = [PanicEpoch("ALL", 2), PanicEpoch(f"USER:{USER}", 3)]
    stale = panics.refuse_epoch(epochs, 4, OrderPurpose.ENTRY)
    assert stale is not None
    assert stale.rule is DenialRule.STALE_EPOCH
    assert panics.refuse_epoch(epochs, 5, OrderPurpose.ENTRY) is None


def test_while_a_scope_is_stopped_only_square_offs_pass() -> None:
    epochs = [PanicEpoch("ALL", 1, halted=True)]
    halted = panics.refuse_epoch(epochs, 1, OrderPurpose.EXIT)
    assert halted is not None
    assert halted.rule is DenialRule.HALTED
    assert panics.refuse_epoch(epochs, 1, OrderPurpose.SQUARE_OFF) is None


# Funds


def test_yesterdays_profit_is_in_todays_opening_balance() -> None:
    account = accounts.save(None, account_save(capital=1000), NOON)
    assert isinstance(account, accounts.TradingAccount)
    account = accounts.move_funds(account, margin=Decimal(100), realised=Decimal(50))
    assert account.funds.available == 950
    tomorrow = accounts.begin_day(account, account.day + timedelta(days=1))
    assert (tomorrow.funds.opening_balance, tomorrow.funds.realised_pnl) == (Decimal(1050), Decimal(0))
    assert tomorrow.funds.available == 950


def test_the_trading_day_begins_at_midnight_in_india() -> None:
    evening = NOON.replace(hour=18, minute=29)
    assert accounts.trading_day(evening + timedelta(minutes=1)) == accounts.trading_day(evening) + timedelta(days=1)


# Square-offs


def book(quantity: int) -> Book:
    return Book(ACCOUNT, ALPHA, SBIN, cleared().product, Holding(quantity=quantity, cost=Decimal(quantity)))


def exit_order(side: Side, quantity: int, filled_quantity: int = 0) -> Order:
    order, _ = orders.submit(cleared(side, quantity, strategy=ALPHA, purpose=OrderPurpose.SQUARE_OFF))
    return replace(order, square_off_id=square_off(n=2).square_off_id, filled_quantity=filled_quantity)


@given(
    st.integers(-100, 100),
    st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 60)), max_size=4),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_exits_with_those_on_their_way_never_close_more_than_is_held(
    held: int, on_their_way: list[tuple[Side, int]], largest: int | None
) -> None:
    pending = [exit_order(side, quantity) for side, quantity in on_their_way]
    sizes = {} if largest is None else {SBIN: largest}
    plan = square_offs.plan(square_offs.start(square_off(), NOON), pending, [book(held)], sizes, NOON)
    left = held + sum(order.side.sign * order.leaves for order in pending)
    asked = sum(wanted.side.sign * wanted.quantity for wanted in plan.exits)
    assert abs(asked) == (min(abs(left), abs(held)) if left * held > 0 else 0)
    assert asked * held <= 0
    assert all(wanted.quantity <= (largest or 100) for wanted in plan.exits)
    assert plan.is_flat == (not held and not pending)


def test_pauses_double_up_to_half_a_minute_and_a_fill_ends_them() -> None:
    waiting = square_offs.start(square_off(), NOON)
    pauses = []
    for _ in range(7):
        waiting = square_offs.failed(waiting, SBIN, NOON)
        pauses.append((waiting.pauses[SBIN].until - NOON).total_seconds())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert not square_offs.judge(waiting, exit_order(Side.SELL, 5), ExecutionKind.FILLED, NOON).pauses
