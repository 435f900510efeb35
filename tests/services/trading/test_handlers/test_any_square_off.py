"""However risk and the venue answer, every square-off ends flat."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule, ExecutionKind, Side
from libs.common.contracts.ids import OrderId, SquareOffId, StrategyId
from libs.common.contracts.orders import OrderRequested, SquareOffCompleted, SquareOffStarted
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.venue import ExecutionReported, VenueCancelRequested, VenueOrderRequested
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.testing import NOON
from tests.services.trading.hearing import Trading, only
from tests.services.trading.making import (
    ALPHA,
    BETA,
    accepted,
    account_save,
    cleared,
    execution,
    filled,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, deny, exits, tick


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
    now, asked, at_work = NOON, set[OrderId](), goes_on(set(), said)
    while at_work:
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
        at_work = goes_on(at_work, said)
    assert exits(said) == []


def goes_on(before: set[SquareOffId], said: Sequence[Message]) -> set[SquareOffId]:
    """One that nobody trades with for long leaves the rest to others."""
    begun = {each.square_off_id for each in said if isinstance(each, SquareOffStarted)}
    return (before | begun) - {each.square_off_id for each in said if isinstance(each, SquareOffCompleted)}
