"""The end of a session: one square-off of an instrument's MIS, however often risk asks, in paper accounts alone."""

from datetime import datetime, timedelta

import pytest

from libs.common.contracts.base import Message
from libs.common.contracts.enums import Broker, ExecutionKind, OrderPurpose, Product, Side, SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.orders import SquareOffCompleted, SquareOffRequested, SquareOffStarted
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.venue import VenueCancelRequested
from libs.common.testing import NOON, deliver
from libs.common.testing.delivery import envelope_of
from services.trading.app import app
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    INFY,
    SBIN,
    accepted,
    account_save,
    cancelled,
    cleared,
    execution,
    filled,
    later,
    order_id,
    panic,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits, tick


def ends(n: int = 1, instrument: InstrumentId = SBIN, account_id: AccountId = ACCOUNT) -> SquareOffRequested:
    """As risk asks, the n-th time."""
    wish = square_off(instrument=instrument, product=Product.MIS, reason=SquareOffReason.SESSION_END, n=n)
    return wish.model_copy(update={"account_id": account_id})


async def holds(trading: Trading, quantity: int = 10, **terms: object) -> None:
    side = Side.BUY if quantity > 0 else Side.SELL
    entry = cleared(side, abs(quantity), **terms)  # type: ignore[arg-type]
    await trading.hears(entry, filled(entry, abs(quantity)))


async def test_mis_of_the_instrument_is_cancelled_and_closed_and_nothing_else(trading: Trading) -> None:
    pending = cleared(Side.BUY, 5, strategy=BETA)
    await holds(trading, strategy=ALPHA)
    await holds(trading, product=Product.CNC)
    await holds(trading, instrument=INFY)
    await trading.hears(pending, accepted(pending))
    said = await trading.hears(ends())
    started = only(SquareOffStarted, said)
    assert (started.reason, started.instrument, started.product) == (SquareOffReason.SESSION_END, SBIN, Product.MIS)
    assert (started.cancelling, started.closing) == (1, 1)
    assert [each.order_id for each in said if isinstance(each, VenueCancelRequested)] == [pending.order_id]
    [request] = exits(said)
    assert (request.side, request.quantity, request.strategy_id) == (Side.SELL, 10, ALPHA)
    assert (request.purpose, request.square_off_id) == (OrderPurpose.SQUARE_OFF, ends().square_off_id)
    said = await trading.hears(cancelled(pending), clear(request), filled(clear(request), 10))
    assert only(SquareOffCompleted, said).reason is SquareOffReason.SESSION_END
    assert only(PositionChanged, said).net.quantity == 0


async def test_asked_again_and_again_it_is_one_square_off_with_one_exit(trading: Trading) -> None:
    await holds(trading)
    [request] = exits(await trading.hears(ends()))
    assert await trading.hears(ends()) == [], "the same wish, by another instance of risk or delivered again"
    assert await trading.hears(ends(2)) == [], "its exit is on its way"
    said = await trading.hears(clear(request), filled(clear(request), 10), ends(3))
    assert names(said).count("SquareOffCompleted") == 1
    assert await trading.hears(ends(4)) == [], "risk had not heard yet that it is closed"


async def test_what_is_flat_begins_nothing(trading: Trading) -> None:
    assert await trading.hears(ends()) == []
    await holds(trading, product=Product.CNC)
    assert await trading.hears(ends(2)) == []


async def test_an_entry_that_was_late_on_its_way_is_closed_when_risk_asks_again(trading: Trading) -> None:
    """Risk cleared it before the cutoff; trading heard of the end of the session first."""
    await holds(trading)
    [request] = exits(await trading.hears(ends()))
    await trading.hears(clear(request), filled(clear(request), 10))
    await holds(trading, 3)
    said = await trading.hears(ends(2))
    assert only(SquareOffStarted, said).square_off_id == ends(2).square_off_id
    assert [each.quantity for each in exits(said)] == [3]


async def test_an_exit_that_failed_is_tried_again_when_risk_asks_and_never_by_night(trading: Trading) -> None:
    """Only risk knows the hours: each try of the night would be one more rejected order in the book."""
    await holds(trading)
    [request] = exits(await trading.hears(ends()))
    rejected = execution(clear(request), ExecutionKind.REJECTED, reason="NSE is closed")
    await trading.hears(clear(request), rejected)
    assert await trading.hears(ends(2)) == [], "not at once"
    for seconds in (2, 60, 600, 36_000):
        assert await tick(trading, later(seconds)) == []
    [again] = exits(await trading.hears(ends(3), now=later(60_000)))
    assert (again.quantity, again.square_off_id) == (10, ends().square_off_id), "the same square-off goes on"
    said = await trading.hears(clear(again), filled(clear(again), 10), now=later(60_001))
    assert "SquareOffCompleted" in names(said)


async def test_an_exit_that_nobody_decided_is_given_up_and_asked_for_anew(trading: Trading) -> None:
    await holds(trading)
    [request] = exits(await trading.hears(ends()))
    assert names(await tick(trading, later(61))) == ["OrderDenied"]
    [again] = exits(await trading.hears(ends(2), now=later(61)))
    assert again.order_id != request.order_id
    assert await trading.hears(clear(request), now=later(62)) == []


async def test_a_cancel_that_is_never_answered_holds_nothing_up_for_long(trading: Trading) -> None:
    pending = cleared(Side.BUY, 5)
    await holds(trading)
    await trading.hears(pending, accepted(pending))
    assert exits(await trading.hears(ends())) == []
    [request] = exits(await trading.hears(ends(2), now=later(10)))
    assert request.quantity == 10


async def test_a_wish_that_waited_while_we_were_away_closes_nothing(trading: Trading) -> None:
    """It is of another day, perhaps: the position was opened this morning."""
    await holds(trading)
    old = envelope_of(ends(), now=NOON - timedelta(seconds=31))
    assert await deliver(app, trading.connection, ends(), cause=old) == []
    assert "SquareOffStarted" in names(await trading.hears(ends(2)))


@pytest.mark.parametrize("asked_at", [NOON - timedelta(seconds=30), NOON + timedelta(seconds=5)])
async def test_a_wish_of_seconds_ago_or_of_a_clock_ahead_counts(trading: Trading, asked_at: datetime) -> None:
    await holds(trading)
    cause = envelope_of(ends(), now=asked_at)
    assert "SquareOffStarted" in names(await deliver(app, trading.connection, ends(), cause=cause))


async def test_a_brokers_account_is_left_to_its_broker(trading: Trading) -> None:
    theirs = AccountId(order_id(44))
    save = account_save(account_id=theirs)
    live = save.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(save.model_copy(update={"account": live}))
    await holds(trading, account_id=theirs)
    assert await trading.hears(ends(account_id=theirs)) == []


async def test_a_panic_and_the_end_of_the_session_close_nothing_twice(trading: Trading) -> None:
    await holds(trading)
    [request] = exits(await trading.hears(panic(f"ACCOUNT:{ACCOUNT}")))
    assert exits(await trading.hears(ends())) == []
    said = await trading.hears(clear(request), filled(clear(request), 10))
    assert names(said).count("SquareOffCompleted") == 2
    assert only(PositionChanged, said).net.quantity == 0


async def test_one_instrument_that_nobody_trades_holds_up_no_other(trading: Trading) -> None:
    """Else all that is bought on the exchange the next day would be closed at once."""
    await holds(trading)
    await trading.hears(ends())
    await holds(trading, instrument=INFY)
    assert await tick(trading, later(5)) == []
    entry = cleared(instrument=INFY)
    assert "VenueCancelRequested" not in names(await trading.hears(entry, accepted(entry)))


async def test_a_kill_before_the_commit_begins_nothing_and_the_same_wish_begins_the_same(trading: Trading) -> None:
    await holds(trading)
    cause = envelope_of(ends())
    said: list[list[Message]] = []
    for _ in range(2):
        dead = trading.connection.transaction()
        await dead.start()
        said.append(await deliver(app, trading.connection, ends(), cause=cause))
        await dead.rollback()
    said.append(await deliver(app, trading.connection, ends(), cause=cause))
    assert said[0] == said[1] == said[2]
    assert names(said[0]) == ["SquareOffStarted", "OrderRequested"]


async def test_killed_in_between_what_is_left_is_closed_when_risk_asks_again(trading: Trading) -> None:
    """The exit was cleared and half filled, and then nobody was there for a minute."""
    await holds(trading)
    [request] = exits(await trading.hears(ends()))
    await trading.hears(clear(request), filled(clear(request), 4, leaves=6))
    await trading.hears(execution(clear(request), ExecutionKind.EXPIRED))
    [rest] = exits(await trading.hears(ends(2), now=later(60)))
    assert (rest.side, rest.quantity) == (Side.SELL, 6)
