"""What a broker's book says, told once: for any order of readings, and never more than it proves."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.enums import (
    Broker,
    ExecutionKind,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Side,
    Validity,
)
from libs.common.contracts.ids import CallId, CorrelationId
from libs.common.contracts.venue import ExecutionReported
from libs.common.ids import new_id
from libs.common.testing import NOON
from services.trading.domain import book, calls, orders
from services.trading.domain.accounts import trading_day
from services.trading.domain.book import Book, BookRow, RowState, Terms, Trade, Watch, Watched
from services.trading.domain.calls import Call, CallState, Patience
from tests.services.trading import making
from tests.services.trading.making import ACCOUNT, SBIN, cleared, order_id
from tests.services.trading.test_domain.filling import after

K = ExecutionKind
PATIENCE = Patience()
TAG = "7KQ3VZ5WJ2XN4DCA6MTB"
ID = "261123000000001"
LIMIT = Terms(10, OrderType.LIMIT, Decimal(100), None)


def watched(state: Watch = Watch.LIVE, terms: Terms = LIMIT) -> Watched:
    request = BrokerOrderRequested(
        order_id=order_id(1),
        account_id=ACCOUNT,
        broker=Broker.ZERODHA,
        instrument=SBIN,
        side=Side.BUY,
        quantity=terms.quantity,
        order_type=terms.order_type,
        product=Product.MIS,
        validity=Validity.DAY,
        price=terms.price,
        trigger_price=terms.trigger_price,
        tag=TAG,
        purpose=OrderPurpose.ENTRY,
        epoch=0,
    )
    call = a_call(request)
    known = ID if state in (Watch.LIVE, Watch.ENDED) else None
    return replace(book.watch(call, request, NOON, PATIENCE), state=state, broker_order_id=known)


def a_call(request: calls.Request, state: CallState = CallState.DONE) -> Call:
    own = new_id()
    return Call(
        call_id=CallId(own),
        account_id=ACCOUNT,
        request=request,
        correlation_id=CorrelationId(own),
        user_id=None,
        created_at=NOON,
        not_before=NOON,
        state=state,
        answered_at=NOON,
    )


def row(state: RowState, filled: int = 0, terms: Terms = LIMIT, name: str = ID) -> BookRow:
    return BookRow(name, TAG, state, terms, filled, "because", NOON)


def trade(number: int, quantity: int, name: str = ID) -> Trade:
    return Trade(str(number), name, quantity, Decimal(100), NOON + timedelta(seconds=number))


def reading(*rows: BookRow, trades: tuple[Trade, ...] = (), at: datetime = NOON) -> Book:
    return Book(rows, trades, at)


def test_trades_of_our_orders_and_of_other_accounts_here_are_none_past_us() -> None:
    tags = {"1": TAG, "2": "", "3": "autosquareoff", "4": orders.tag_of(order_id(2))}
    rows = [replace(row(RowState.COMPLETE, name=name), tag=tag) for name, tag in tags.items()]
    shown = reading(*rows, trades=tuple(trade(1, 10, name) for name in (*tags, "5")))
    assert [each.broker_order_id for each in shown.past_us([replace(watched(), broker_order_id="1")])] == ["2", "3"]


def kinds(look: book.Look) -> list[ExecutionKind]:
    return [said.kind for said in look.said]


def read(order: Watched, *readings: Book) -> tuple[Watched, list[ExecutionReported]]:
    said: list[ExecutionReported] = []
    for each in readings:
        look = book.look(order, each, None, PATIENCE)
        order, said = look.order, [*said, *look.said]
    return order, said


def empty(seconds: float) -> Book:
    return reading(at=NOON + timedelta(seconds=seconds))


def test_an_order_that_nobody_answered_for_counts_as_refused_only_after_many_books_over_a_long_time() -> None:
    order, said = read(watched(Watch.UNKNOWN), *(empty(10 + n) for n in range(20)))
    assert (order.state, said) == (Watch.UNKNOWN, [])
    order, said = read(watched(Watch.UNKNOWN), *(empty(10 + 20 * n) for n in range(5)))
    assert (order.state, said) == (Watch.UNKNOWN, [])
    order, said = read(watched(Watch.UNKNOWN), *(empty(10 + 6 * n) for n in range(6)))
    assert (order.state, [s.kind for s in said]) == (Watch.GIVEN_UP, [K.REJECTED])


def test_books_read_before_the_call_could_end_are_no_evidence() -> None:
    order, said = read(watched(Watch.UNKNOWN), *(empty(n * 0.1) for n in range(70)))
    assert (order.absent_reads, said) == (0, [])


def test_one_book_that_shows_it_ends_all_doubt() -> None:
    order, _ = read(watched(Watch.UNKNOWN), *(empty(10 + 6 * n) for n in range(5)))
    look = book.look(order, reading(row(RowState.OPEN), at=NOON + timedelta(seconds=60)), None, PATIENCE)
    assert (look.order.state, look.order.absent_reads, kinds(look)) == (Watch.LIVE, 0, [K.ACCEPTED])


def test_yesterdays_unknown_order_is_never_refused_for_missing_in_todays_book() -> None:
    tomorrow = 86_400
    order, said = read(watched(Watch.UNKNOWN), *(empty(tomorrow + 60 * n) for n in range(20)))
    assert (order.state, said) == (Watch.UNKNOWN, [])
    alarms = book.look(replace(order, absent_reads=5), empty(tomorrow + 5000), None, PATIENCE).alarms
    assert "look at the broker" in alarms[0]


def test_an_accepted_order_that_a_book_lacks_stays_what_it_is() -> None:
    accepted = watched()
    assert read(accepted, *(empty(60 * n) for n in range(1, 50))) == (accepted, [])


def test_hummingbot_1357_an_order_that_was_given_up_and_shows_after_all_is_found_and_alarmed() -> None:
    given_up = watched(Watch.GIVEN_UP)
    look = book.look(given_up, reading(row(RowState.COMPLETE, 10), trades=(trade(1, 10),)), None, PATIENCE)
    assert kinds(look) == [K.FOUND, K.FILLED]
    assert look.alarms
    assert look.order.state is Watch.ENDED


def test_an_order_that_was_given_up_and_shows_as_rejected_is_what_we_said() -> None:
    look = book.look(watched(Watch.GIVEN_UP), reading(row(RowState.REJECTED)), None, PATIENCE)
    assert (kinds(look), look.alarms) == ([K.REJECTED], ())


def test_openalgo_1991_a_row_without_our_tag_is_never_taken_for_ours_however_like_it_is() -> None:
    """openalgo#1991: matching by likeness adopts somebody else's order."""
    stranger = replace(row(RowState.COMPLETE, 10), tag="", broker_order_id="261123000000099")
    look = book.look(watched(Watch.UNKNOWN), reading(stranger, at=NOON + timedelta(minutes=1)), None, PATIENCE)
    assert (look.order.state, look.said) == (Watch.UNKNOWN, ())


def test_an_end_waits_for_the_fills_that_its_row_counts() -> None:
    order, said = read(watched(), reading(row(RowState.CANCELLED, 4)))
    assert (order.state, said) == (Watch.LIVE, [])
    order, said = read(order, reading(row(RowState.CANCELLED, 4), trades=(trade(1, 4),)))
    assert [s.kind for s in said] == [K.FILLED, K.CANCELLED]
    assert order.state is Watch.ENDED


def test_a_trade_after_the_end_is_told_and_alarmed() -> None:
    look = book.look(watched(Watch.ENDED), reading(row(RowState.CANCELLED, 4), trades=(trade(1, 4),)), None, PATIENCE)
    assert (kinds(look), bool(look.alarms)) == ([K.FILLED], True)


def test_a_broker_that_made_two_orders_of_one_wish_has_both_booked_and_somebody_called() -> None:
    rows = (row(RowState.COMPLETE, 10), row(RowState.COMPLETE, 10, name="261123000000002"))
    trades = (trade(1, 10), trade(2, 10, name="261123000000002"))
    look = book.look(watched(Watch.UNKNOWN), reading(*rows, trades=trades), None, PATIENCE)
    assert kinds(look) == [K.ACCEPTED, K.FILLED, K.FILLED]
    assert "2 orders for one wish" in look.alarms[0]


def test_a_stop_that_wakes_is_triggered_once() -> None:
    stop = Terms(10, OrderType.SL, Decimal(99), Decimal(98))
    awake = Terms(10, OrderType.LIMIT, Decimal(99), Decimal(98))
    dormant = reading(row(RowState.DORMANT, terms=stop))
    _, said = read(
        watched(terms=stop), dormant, reading(row(RowState.OPEN, terms=awake)), reading(row(RowState.OPEN, terms=awake))
    )
    assert [s.kind for s in said] == [K.TRIGGERED]


def test_a_market_order_that_the_broker_shows_with_a_price_was_not_changed() -> None:
    market = Terms(10, OrderType.MARKET, None, None)
    _, said = read(watched(terms=market), reading(row(RowState.OPEN, terms=LIMIT)))
    assert said == []


def change_to(terms: Terms) -> Call:
    request = BrokerModifyRequested(
        order_id=order_id(1),
        account_id=ACCOUNT,
        broker=Broker.ZERODHA,
        instrument=SBIN,
        quantity=terms.quantity,
        order_type=terms.order_type,
        validity=Validity.DAY,
        price=terms.price,
        trigger_price=terms.trigger_price,
        purpose=OrderPurpose.ENTRY,
        epoch=0,
    )
    return a_call(request, CallState.AWAITED)


def test_a_change_holds_when_the_exchange_shows_it_and_not_while_it_passes() -> None:
    larger = Terms(12, OrderType.LIMIT, Decimal(101), None)
    change = change_to(larger)
    passing = book.look(watched(), reading(row(RowState.PASSING, terms=larger)), change, PATIENCE)
    assert (passing.said, passing.settled) == ((), None)
    shown = book.look(watched(), reading(row(RowState.OPEN, terms=larger)), change, PATIENCE)
    assert (kinds(shown), shown.settled, shown.said[0].quantity) == ([K.MODIFIED], change, 12)


def test_a_change_that_the_exchange_does_not_show_in_time_or_that_comes_too_late_was_refused() -> None:
    change = change_to(Terms(12, OrderType.LIMIT, Decimal(101), None))
    late = reading(row(RowState.OPEN), at=NOON + timedelta(seconds=11))
    assert kinds(book.look(watched(), late, change, PATIENCE)) == [K.MODIFY_REJECTED]
    over = reading(row(RowState.COMPLETE, 10), trades=(trade(1, 10),))
    assert kinds(book.look(watched(), over, change, PATIENCE)) == [K.FILLED, K.MODIFY_REJECTED]


STOP = Terms(10, OrderType.SL, Decimal(99), Decimal(98))


@pytest.mark.parametrize(
    ("before", "wanted"),
    [(LIMIT, Terms(10, OrderType.MARKET, None, None)), (STOP, Terms(10, OrderType.SL_M, None, Decimal(98)))],
)
def test_a_change_to_the_market_is_not_shown_by_the_limit_that_was_there_before(before: Terms, wanted: Terms) -> None:
    """Brokers show market orders with a price. Refused by the exchange it was told as done: the order rested at its
    old limit, and its owner read that it was at the market.
    """
    change, state = change_to(wanted), RowState.OPEN if before is LIMIT else RowState.DORMANT
    soon, late = (reading(row(state, terms=before), at=NOON + timedelta(seconds=n)) for n in (1, 11))
    look = book.look(watched(terms=before), soon, change, PATIENCE)
    assert (look.said, look.settled) == ((), None)
    look = book.look(watched(terms=before), late, change, PATIENCE)
    assert (kinds(look), look.order.terms) == ([K.MODIFY_REJECTED], before)
    protected = replace(before, price=Decimal(97))
    look = book.look(watched(terms=before), reading(row(state, terms=protected)), change, PATIENCE)
    assert (kinds(look), look.order.terms) == ([K.MODIFIED], wanted)


CANCEL = BrokerCancelRequested(order_id=order_id(1), account_id=ACCOUNT, broker=Broker.ZERODHA, instrument=SBIN)


def test_a_cancel_that_was_taken_awaits_what_the_exchange_makes_of_it() -> None:
    taken = calls.judge(a_call(CANCEL, CallState.CALLING), calls.Taken(ID), NOON, PATIENCE)
    assert (taken.call.state, taken.said) == (CallState.AWAITED, None)
    still, late = (reading(row(RowState.OPEN), at=NOON + timedelta(seconds=n)) for n in (9, 11))
    look = book.look(watched(), still, None, PATIENCE, taken.call)
    assert (look.said, look.answered) == ((), None)
    look = book.look(watched(), late, None, PATIENCE, taken.call)
    assert (kinds(look), look.answered) == ([K.CANCEL_REJECTED], taken.call)
    order = orders.cancel(orders.submit(cleared(quantity=10))[0], NOON)
    order, _ = after(order, *look.said)
    assert order.cancel_requested_at is None


@pytest.mark.parametrize("over", [RowState.CANCELLED, RowState.COMPLETE, RowState.REJECTED])
def test_a_cancel_is_answered_by_the_orders_end_whatever_that_is(over: RowState) -> None:
    cancel = a_call(CANCEL, CallState.AWAITED)
    filled = 10 if over is RowState.COMPLETE else 0
    done = reading(row(over, filled), trades=(trade(1, 10),) if filled else (), at=NOON + timedelta(seconds=60))
    look = book.look(watched(), done, None, PATIENCE, cancel)
    assert (K.CANCEL_REJECTED in kinds(look), look.answered) == (False, cancel)
    assert book.look(watched(Watch.ENDED), empty(60), None, PATIENCE, cancel).answered == cancel


def test_an_order_that_ended_overnight_unseen_is_of_unknown_outcome_and_answers_its_change_and_cancel() -> None:
    """Nobody read the book between the change and the next day. It may have filled; and nobody would ever be told what
    became of the change, and the book be read each second for ever.
    """
    change, order = change_to(LIMIT), watched()
    said: list[ExecutionKind] = []
    settled: list[Call | None] = []
    for n in range(6):
        tomorrow = reading(at=NOON + timedelta(days=1, seconds=6 * n))
        look = book.look(order, tomorrow, change, PATIENCE)
        order, said, settled = look.order, [*said, *kinds(look)], [*settled, look.settled]
    assert (said, settled) == ([K.UNSEEN, K.MODIFY_REJECTED], [None] * 5 + [change])
    assert (order.state, book.is_hardly_there(order, trading_day(NOON + timedelta(days=1)))) == (Watch.UNKNOWN, True)
    cancel, later_on = a_call(CANCEL, CallState.AWAITED), reading(at=NOON + timedelta(days=1, minutes=1))
    look = book.look(order, later_on, None, PATIENCE, cancel)
    assert (look.said, look.answered, look.alarms) == ((), cancel, ())
    over = reading(row(RowState.CANCELLED), at=NOON + timedelta(seconds=60))
    look = book.look(watched(Watch.ENDED), over, change, PATIENCE)
    assert (kinds(look), look.settled) == ([K.MODIFY_REJECTED], change)


SMALLER = Terms(6, OrderType.LIMIT, Decimal(101), None)


@pytest.mark.parametrize("change", [change_to(SMALLER), None], ids=["ours", "somebody's at the broker's screen"])
def test_an_order_made_smaller_that_is_complete_when_it_shows_is_filled(change: Call | None) -> None:
    """Told that nothing changed it would stay open for ever, with four units that nobody works on."""
    done = reading(row(RowState.COMPLETE, 6, SMALLER), trades=(trade(1, 6),))
    look = book.look(watched(), done, change, PATIENCE)
    assert (kinds(look), look.settled, look.order.state) == ([K.FILLED, K.MODIFIED], change, Watch.ENDED)
    order = orders.submit(cleared(quantity=10))[0]
    order = order if change is None else orders.modify(order, making.change_to(order, 6))
    order, _ = after(order, *look.said)
    assert (order.status, order.quantity, order.blocked) == (OrderStatus.FILLED, 6, Decimal(0))


trades_of_ten = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(trades_of_ten, st.data())
def test_fills_are_told_once_each_whatever_the_book_shows_when(sizes: list[int], drawn: st.DataObject) -> None:
    all_trades = tuple(trade(n, size) for n, size in enumerate(sizes))
    total = sum(sizes)
    terms = replace(LIMIT, quantity=total)
    last = reading(row(RowState.COMPLETE, total, terms), trades=all_trades)
    readings = []
    for _ in range(drawn.draw(st.integers(0, 6))):
        shown = tuple(drawn.draw(st.lists(st.sampled_from(all_trades), max_size=6)))
        state = drawn.draw(st.sampled_from([RowState.PASSING, RowState.OPEN, RowState.COMPLETE]))
        visible = drawn.draw(st.booleans())
        readings.append(reading(*([row(state, total, terms)] if visible else []), trades=shown))
    order, said = read(watched(Watch.UNKNOWN, terms), *readings, last, last)
    fills = [s for s in said if s.kind is K.FILLED]
    assert sum(s.quantity for s in fills) == order.filled_quantity == total
    assert len({s.execution_id for s in said}) == len(said)
    assert [s.kind for s in said if s.kind is not K.FILLED] == [K.ACCEPTED]
    assert order.state is Watch.ENDED


def test_a_call_that_was_recorded_by_a_clock_that_ran_ahead_waits_for_nothing() -> None:
    """It would leave when nobody expects it any more: after the hour that the clock was set back by."""
    cancel = BrokerCancelRequested(order_id=order_id(1), account_id=ACCOUNT, broker=Broker.ZERODHA, instrument=SBIN)
    waiting = replace(a_call(cancel, CallState.WAITING), not_before=NOON + timedelta(hours=1))
    assert calls.due([waiting], (), NOON, (), PATIENCE) == waiting
    assert calls.due([replace(waiting, not_before=NOON + timedelta(seconds=3))], (), NOON, (), PATIENCE) is None
