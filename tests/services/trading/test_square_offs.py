"""Square-offs and panics through the handlers, with a venue and a risk gate played by hand."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderPurpose, OrderType, RiskLevel, Side
from libs.common.contracts.ids import OrderId, PanicId, StrategyId
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyRefused,
    OrderRequested,
    SquareOffCompleted,
    SquareOffStarted,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.contracts.risk import PanicRaised, PanicRequested, PanicReset, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported, VenueCancelRequested, VenueOrderRequested
from libs.common.ids import new_id
from libs.common.messaging.work import Work, origin
from libs.common.service import Connection, Memory
from libs.common.testing import NOON
from services.trading.app import app
from services.trading.handlers.funds import begin_days
from services.trading.handlers.square_offs import sweep
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    INFY,
    SBIN,
    USER,
    accepted,
    account_save,
    cancelled,
    change_to,
    cleared,
    execution,
    filled,
    order_id,
    square_off,
)
from tests.services.trading.test_handlers import Trading, names, only


@pytest.fixture
async def trading(connection: Connection) -> Trading:
    trading = Trading(connection)
    await trading.hears(account_save())
    return trading


def exits(said: Sequence[Message]) -> list[OrderRequested]:
    return [message for message in said if isinstance(message, OrderRequested)]


def clear(request: OrderRequested) -> OrderCleared:
    return OrderCleared(**{**vars(request), "margin": 0})


def deny(request: OrderRequested, rule: DenialRule, limit: str | None = None) -> OrderDenied:
    return OrderDenied(**vars(request), rule=rule, reason="no", limit=limit)


def panic(scope: str = "ALL", n: int = 1) -> PanicRequested:
    return PanicRequested(
        panic_id=PanicId(order_id(700 + n)), scope=scope, level=RiskLevel.ALL, requested_by=USER, reason="fat finger"
    )


def reset(scope: str = "ALL") -> PanicResetRequested:
    return PanicResetRequested(panic_id=PanicId(order_id(800)), scope=scope, level=RiskLevel.ALL, requested_by=USER)


async def test_a_flat_account_is_squared_off_at_once(trading: Trading) -> None:
    said = await trading.hears(square_off())
    assert names(said) == ["SquareOffStarted", "SquareOffCompleted"]
    assert await trading.hears(square_off()) == []


async def test_a_square_off_of_an_unknown_account_is_refused(trading: Trading) -> None:
    request = square_off().model_copy(update={"account_id": order_id()})
    refused = only(RequestRefused, await trading.hears(request))
    assert (refused.code, refused.entity_id) == ("not_found", str(request.square_off_id))


async def test_an_open_position_is_closed_through_risk_and_then_the_square_off_is_over(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10, strategy=ALPHA)
    await trading.hears(entry, filled(entry, 10))
    said = await trading.hears(square_off())
    assert names(said) == ["SquareOffStarted", "OrderRequested"]
    assert only(SquareOffStarted, said).closing == 1
    [request] = exits(said)
    assert (request.side, request.quantity, request.order_type) == (Side.SELL, 10, OrderType.MARKET)
    assert (request.purpose, request.strategy_id) == (OrderPurpose.SQUARE_OFF, ALPHA)
    assert request.expires_at == NOON + timedelta(seconds=30)
    assert names(await trading.hears(clear(request))) == ["OrderSubmitted", "VenueOrderRequested"]
    said = await trading.hears(filled(clear(request), 10, "101"))
    assert "SquareOffCompleted" in names(said)
    assert only(PositionChanged, said).net.quantity == 0


async def test_pending_orders_are_cancelled_before_the_exit_of_their_book(trading: Trading) -> None:
    entry, pending = cleared(Side.BUY, 10), cleared(Side.BUY, 5)
    await trading.hears(entry, filled(entry, 10), pending, accepted(pending))
    said = await trading.hears(square_off())
    assert names(said) == ["SquareOffStarted", "VenueCancelRequested"]
    assert only(SquareOffStarted, said).cancelling == 1
    [request] = exits(await trading.hears(cancelled(pending)))
    assert request.quantity == 10


async def test_a_fill_that_crosses_the_cancel_is_closed_too(trading: Trading) -> None:
    pending = cleared(Side.BUY, 5)
    await trading.hears(pending, accepted(pending))
    await trading.hears(square_off())
    assert exits(await trading.hears(filled(pending, 2, leaves=3))) == []
    [request] = exits(await trading.hears(cancelled(pending)))
    assert (request.side, request.quantity) == (Side.SELL, 2)


async def test_two_square_offs_never_close_the_same_quantity_twice(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10, strategy=ALPHA)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off(strategy=ALPHA)))
    assert exits(await trading.hears(square_off(n=2))) == []
    said = await trading.hears(clear(request), filled(clear(request), 10))
    assert names(said).count("SquareOffCompleted") == 2


async def test_a_strategys_square_off_closes_exactly_its_own_book(trading: Trading) -> None:
    alpha, beta = cleared(Side.BUY, 10, strategy=ALPHA), cleared(Side.SELL, 4, strategy=BETA)
    await trading.hears(alpha, filled(alpha, 10), beta, filled(beta, 4))
    [request] = exits(await trading.hears(square_off(strategy=BETA)))
    assert (request.side, request.quantity, request.strategy_id) == (Side.BUY, 4, BETA)
    said = await trading.hears(clear(request), filled(clear(request), 4))
    assert only(SquareOffCompleted, said).strategy_id == BETA
    moved = only(PositionChanged, said)
    assert (moved.net.quantity, moved.book.quantity) == (10, 0)


async def test_an_accounts_square_off_leaves_every_strategys_book_flat_as_well(trading: Trading) -> None:
    alpha, beta, manual = cleared(Side.BUY, 10, strategy=ALPHA), cleared(Side.SELL, 4, strategy=BETA), cleared()
    await trading.hears(alpha, filled(alpha, 10), beta, filled(beta, 4), manual, filled(manual, 10))
    requests = exits(await trading.hears(square_off()))
    assert {(r.strategy_id, r.side, r.quantity) for r in requests} == {
        (ALPHA, Side.SELL, 10),
        (BETA, Side.BUY, 4),
        (None, Side.SELL, 10),
    }
    said: list[Message] = []
    for request in requests:
        said = await trading.hears(clear(request), filled(clear(request), request.quantity))
    assert "SquareOffCompleted" in names(said)
    assert only(PositionChanged, said).net.quantity == 0


async def test_instrument_and_product_narrow_a_square_off(trading: Trading) -> None:
    sbin, infy = cleared(), cleared(instrument=INFY)
    await trading.hears(sbin, filled(sbin, 10), infy, filled(infy, 10))
    [request] = exits(await trading.hears(square_off(instrument=SBIN)))
    assert request.instrument == SBIN


async def test_an_exit_over_the_freeze_quantity_is_sliced_by_what_the_denial_allows(trading: Trading) -> None:
    entry = cleared(Side.BUY, 100)
    await trading.hears(entry, filled(entry, 100))
    [request] = exits(await trading.hears(square_off()))
    requests = exits(await trading.hears(deny(request, DenialRule.FREEZE_QUANTITY, limit="40")))
    assert [r.quantity for r in requests] == [40, 40, 20]
    for part in requests:
        await trading.hears(clear(part))
    said = await trading.hears(*[filled(clear(part), part.quantity) for part in requests])
    assert "SquareOffCompleted" in names(said)


async def test_freqtrade_7365_partial_exit_no_loop_but_growing_pauses(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    pauses, now = [], NOON
    for _ in range(7):
        said = await trading.hears(clear(request), execution(clear(request), ExecutionKind.REJECTED), now=now)
        assert exits(said) == []
        waited = 0.0
        while not (again := exits(await tick(trading, now + timedelta(seconds=waited)))):
            waited += 0.5
        pauses.append(waited)
        now += timedelta(seconds=waited)
        [request] = again
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


async def tick(trading: Trading, now: datetime) -> Sequence[Message]:
    """What the sweep says at this moment."""
    work = Work(app, Memory(), trading.connection, now)
    said = await sweep(work.context(origin(app, now)))
    await work.store.write()
    return said


async def test_freqtrade_8374_partial_fill_of_an_exit_is_followed_by_one_for_the_rest(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert exits(await trading.hears(clear(request), filled(clear(request), 4, leaves=6))) == []
    assert exits(await trading.hears(execution(clear(request), ExecutionKind.EXPIRED))) == []
    [rest] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    assert rest.quantity == 6


async def test_an_exit_nobody_decides_about_is_given_up_and_asked_for_anew(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert await tick(trading, NOON + timedelta(seconds=45)) == []
    [again] = exits(await tick(trading, NOON + timedelta(seconds=61)))
    assert again.order_id != request.order_id
    assert await trading.hears(clear(request)) == []


async def test_an_exit_goes_even_if_a_cancel_is_never_answered(trading: Trading) -> None:
    entry, pending = cleared(Side.BUY, 10), cleared(Side.BUY, 5)
    await trading.hears(entry, filled(entry, 10), pending, accepted(pending))
    assert exits(await trading.hears(square_off())) == []
    assert await tick(trading, NOON + timedelta(seconds=2)) == []
    [request] = exits(await tick(trading, NOON + timedelta(seconds=4)))
    assert request.quantity == 10


async def test_an_instrument_that_nobody_trades_does_not_hold_up_the_others(trading: Trading) -> None:
    stuck, other = cleared(), cleared(instrument=INFY)
    await trading.hears(stuck, filled(stuck, 10), other, filled(other, 10))
    infy, sbin = exits(await trading.hears(square_off()))
    assert (infy.instrument, sbin.instrument) == (INFY, SBIN)
    for seconds in (0, 10):
        denied = await trading.hears(deny(sbin, DenialRule.NO_REFERENCE_PRICE), now=NOON + timedelta(seconds=seconds))
        assert exits(denied) == []
        [sbin] = exits(await tick(trading, NOON + timedelta(seconds=seconds + 5)))
    await trading.hears(deny(sbin, DenialRule.NO_REFERENCE_PRICE), now=NOON + timedelta(seconds=16))
    await trading.hears(clear(infy), filled(clear(infy), 4, leaves=6), now=NOON + timedelta(seconds=16))
    said = await trading.hears(execution(clear(infy), ExecutionKind.EXPIRED), now=NOON + timedelta(seconds=16))
    assert exits(said) == []
    [rest] = exits(await tick(trading, NOON + timedelta(seconds=17)))
    assert (rest.instrument, rest.quantity) == (INFY, 6)


async def test_a_person_may_not_cancel_an_exit_that_risk_has_not_decided(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    cancel = OrderCancelRequested(order_id=request.order_id, account_id=ACCOUNT, user_id=USER)
    assert names(await trading.hears(cancel)) == ["OrderCancelRefused"]
    assert names(await trading.hears(clear(request)))[0] == "OrderSubmitted"


async def test_a_panic_is_acknowledged_and_squares_off_what_is_at_stake(trading: Trading) -> None:
    entry, pending = cleared(Side.BUY, 10), cleared(instrument=INFY)
    await trading.hears(entry, filled(entry, 10), pending)
    said = await trading.hears(panic())
    assert names(said) == ["PanicRaised", "SquareOffStarted", "VenueCancelRequested", "OrderRequested"]
    assert only(PanicRaised, said).epoch == 1
    [request] = exits(said)
    assert request.epoch == 1
    assert only(VenueCancelRequested, said).order_id == pending.order_id
    assert names(await trading.hears(clear(request)))[0] == "OrderSubmitted"


async def test_nothing_cleared_before_a_panic_leaves_after_it(trading: Trading) -> None:
    await trading.hears(panic(f"USER:{USER}"))
    late = await trading.hears(cleared(epoch=0))
    assert only(OrderDenied, late).rule is DenialRule.STALE_EPOCH
    fresh = await trading.hears(cleared(epoch=1))
    assert only(OrderDenied, fresh).rule is DenialRule.HALTED
    assert only(PanicReset, await trading.hears(reset(f"USER:{USER}"))).epoch == 1
    assert only(OrderDenied, await trading.hears(cleared(epoch=0))).rule is DenialRule.STALE_EPOCH
    assert "VenueOrderRequested" in names(await trading.hears(cleared(epoch=1)))


async def test_a_change_cleared_before_a_panic_does_not_leave_after_it(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, accepted(order))
    await trading.hears(panic(f"STRATEGY:{ALPHA}"))
    assert "VenueModifyRequested" in names(await trading.hears(change_to(order, 12)))
    await trading.hears(execution(order, ExecutionKind.MODIFY_REJECTED))
    await trading.hears(panic(f"ACCOUNT:{ACCOUNT}", n=2))
    await trading.hears(execution(order, ExecutionKind.CANCEL_REJECTED))
    assert only(OrderModifyRefused, await trading.hears(change_to(order, 13))).rule is DenialRule.STALE_EPOCH
    assert only(OrderModifyRefused, await trading.hears(change_to(order, 13, epoch=1))).rule is DenialRule.HALTED


async def test_a_second_panic_begins_no_second_square_off(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    assert names(await trading.hears(panic())) == ["PanicRaised", "SquareOffStarted", "OrderRequested"]
    assert names(await trading.hears(panic(n=2))) == ["PanicRaised"]
    assert names(await trading.hears(panic(f"STRATEGY:{ALPHA}", n=3))) == ["PanicRaised"]


async def test_an_exit_that_risk_denies_is_asked_for_again_after_a_pause(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert names(await trading.hears(deny(request, DenialRule.NO_REFERENCE_PRICE))) == ["OrderDenied"]
    assert await tick(trading, NOON + timedelta(seconds=0.5)) == []
    [again] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    assert again.quantity == 10


async def test_the_same_panic_is_raised_once(trading: Trading) -> None:
    assert only(PanicRaised, await trading.hears(panic())).epoch == 1
    assert only(PanicRaised, await trading.hears(panic())).epoch == 1
    assert only(PanicRaised, await trading.hears(panic(n=2))).epoch == 1
    await trading.hears(reset())
    assert only(PanicRaised, await trading.hears(panic())).epoch == 1
    assert "VenueOrderRequested" in names(await trading.hears(cleared(epoch=1)))
    assert only(PanicRaised, await trading.hears(panic(n=3))).epoch == 2


async def test_a_panic_of_one_strategy_leaves_the_others_alone(trading: Trading) -> None:
    alpha, beta = cleared(strategy=ALPHA), cleared(strategy=BETA)
    await trading.hears(alpha, filled(alpha, 10), beta, filled(beta, 10))
    said = await trading.hears(panic(f"STRATEGY:{ALPHA}"))
    assert [r.strategy_id for r in exits(said)] == [ALPHA]
    assert "VenueOrderRequested" in names(await trading.hears(cleared(strategy=BETA)))
    assert only(OrderDenied, await trading.hears(cleared(strategy=ALPHA, epoch=1))).rule is DenialRule.HALTED


async def test_a_panic_sees_orders_submitted_in_the_same_batch(trading: Trading) -> None:
    order = cleared()
    said = await trading.hears(order, panic())
    assert only(VenueCancelRequested, said).order_id == order.order_id


async def test_a_fill_that_comes_late_into_a_stopped_scope_is_squared_off(trading: Trading) -> None:
    order = cleared()
    await trading.hears(order, cancelled(order))
    await trading.hears(panic())
    said = await trading.hears(filled(order, 3))
    assert only(SquareOffStarted, said).closing == 1
    [request] = exits(said)
    assert (request.side, request.quantity) == (Side.SELL, 3)


async def test_an_exit_caught_by_a_panic_is_asked_for_again_under_the_new_epoch(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert exits(await trading.hears(panic())) == []
    said = await trading.hears(clear(request))
    assert only(OrderDenied, said).rule is DenialRule.STALE_EPOCH
    [again] = exits(said)
    assert again.epoch == 1


async def test_a_malformed_scope_is_refused(trading: Trading) -> None:
    refused = only(RequestRefused, await trading.hears(panic("ACCOUNT:7")))
    assert refused.code == "invalid"


async def test_every_square_off_of_ten_positions_ends_in_one_completion(trading: Trading) -> None:
    strategies = [None, ALPHA, BETA]
    entries = [cleared(strategy=s, instrument=i) for s in strategies for i in (SBIN, INFY)]
    await trading.hears(*entries, *[filled(e, 10) for e in entries])
    requests = exits(await trading.hears(square_off()))
    said = await trading.hears(*map(clear, requests), *[filled(clear(r), 10) for r in requests])
    assert names(said).count("SquareOffCompleted") == 1
    assert await tick(trading, NOON + timedelta(seconds=5)) == []


async def test_midnight_in_india_begins_a_new_day_for_accounts_that_do_not_trade(trading: Trading) -> None:
    buy, sell = cleared(Side.BUY, 10), cleared(Side.SELL, 4)
    await trading.hears(buy, filled(buy, 10, "100"), sell, filled(sell, 4, "110"))
    work = Work(app, Memory(), trading.connection, NOON + timedelta(days=1))
    said = await begin_days(work.context(origin(app, work.now)))
    await work.store.write()
    assert names(said) == ["FundsChanged", "PositionChanged"]
    assert only(FundsChanged, said).opening_balance == 1_000_040
    moved = only(PositionChanged, said)
    assert (moved.net.quantity, moved.fill_quantity, moved.version) == (6, 0, 3)
    again = Work(app, Memory(), trading.connection, NOON + timedelta(days=1, hours=1))
    assert await begin_days(again.context(origin(app, again.now))) == []


class Market:
    """Risk and the venue, answering late, in parts, or with a no, but never for ever."""

    def __init__(self, draw: st.DataObject) -> None:
        self.draw = draw
        self.answers: list[Message] = []
        self.refusals = 6

    def is_unkind(self) -> bool:
        if self.refusals and self.draw.draw(st.booleans()):
            self.refusals -= 1
            return True
        return False

    def hear(self, said: Sequence[Message]) -> None:
        for message in said:
            match message:
                case OrderRequested():
                    rule = self.draw.draw(st.sampled_from([DenialRule.NO_REFERENCE_PRICE, DenialRule.FREEZE_QUANTITY]))
                    limit = str(max(1, message.quantity // 2))
                    self.answers.append(deny(message, rule, limit) if self.is_unkind() else clear(message))
                case VenueOrderRequested():
                    self._trade(message)
                case VenueCancelRequested():
                    self._cancel(message)
                case _:
                    pass

    def _trade(self, order: VenueOrderRequested) -> None:
        if self.is_unkind():
            self.answers.append(self._report(order, ExecutionKind.REJECTED))
            return
        first = self.draw.draw(st.integers(1, order.quantity))
        self.answers.append(self._report(order, ExecutionKind.FILLED, first))
        if first < order.quantity and self.is_unkind():
            self.answers.append(self._report(order, ExecutionKind.EXPIRED))
        elif first < order.quantity:
            self.answers.append(self._report(order, ExecutionKind.FILLED, order.quantity - first))

    def _cancel(self, request: VenueCancelRequested) -> None:
        """A pending order of 5, of which some may fill while the cancel is on its way."""
        crossed = self.draw.draw(st.integers(0, 5))
        if crossed:
            self.answers.append(self._report(request, ExecutionKind.FILLED, crossed))
        ending = ExecutionKind.CANCELLED if crossed < 5 else ExecutionKind.CANCEL_REJECTED
        self.answers.append(self._report(request, ending))

    def _report(
        self, order: VenueOrderRequested | VenueCancelRequested, kind: ExecutionKind, quantity: int = 0
    ) -> ExecutionReported:
        return ExecutionReported(
            order_id=order.order_id,
            account_id=order.account_id,
            instrument=order.instrument,
            kind=kind,
            execution_id=str(new_id()),
            venue_order_id="V",
            quantity=quantity,
            price=Decimal(100) if quantity else None,
            executed_at=NOON,
        )

    def next_answer(self) -> Message:
        """Of what waits, one order's answers in order."""
        choices = {getattr(answer, "order_id", None): n for n, answer in reversed(list(enumerate(self.answers)))}
        return self.answers.pop(self.draw.draw(st.sampled_from(sorted(choices.values()))))


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_however_risk_and_venue_answer_a_square_off_ends_flat_and_no_exit_ever_opens(
    connection: Connection, data: st.DataObject
) -> None:
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await square_off_in(Trading(connection), Market(data), data)
        assert await connection.fetch("SELECT quantity FROM books WHERE quantity <> 0") == []
        assert await connection.fetchval("SELECT used_margin FROM accounts") == 0
    finally:
        await savepoint.rollback()


async def square_off_in(trading: Trading, market: Market, data: st.DataObject) -> None:
    """Some positions and pending orders, and then all that is said and answered until the account is flat."""
    await trading.hears(account_save())
    books: dict[StrategyId | None, int] = {}
    for strategy in data.draw(st.lists(st.sampled_from([None, ALPHA, BETA]), min_size=1, max_size=4)):
        side = data.draw(st.sampled_from(Side))
        entry, pending = cleared(side, 10, strategy=strategy), cleared(side, 5, strategy=strategy)
        entered = await trading.hears(entry, filled(entry, data.draw(st.integers(1, 10))), pending, accepted(pending))
        books[strategy] = only(PositionChanged, entered).book.quantity
        await trading.hears(execution(entry, ExecutionKind.CANCELLED))
    said: Sequence[Message] = await trading.hears(square_off())
    now, asked = NOON, set[OrderId]()
    while "SquareOffCompleted" not in names(said):
        asked |= {request.order_id for request in exits(said)}
        market.hear(said)
        if market.answers:
            said = await trading.hears(market.next_answer(), now=now)
        else:
            now += timedelta(seconds=31)
            said = await tick(trading, now)
        for moved in [m for m in said if isinstance(m, PositionChanged)]:
            if moved.order_id in asked:
                assert abs(moved.book.quantity) == abs(books[moved.strategy_id]) - moved.fill_quantity
            books[moved.strategy_id] = moved.book.quantity
        assert now < NOON + timedelta(hours=1)
    assert exits(said) == []
