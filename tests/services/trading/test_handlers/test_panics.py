"""A panic stops its scope, squares off what is at stake there, and leaves the others alone."""

import pytest

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import DenialRule, ExecutionKind, Side
from libs.common.contracts.orders import (
    OrderDenied,
    OrderModifyRefused,
    SquareOffCompleted,
    SquareOffRequested,
    SquareOffStarted,
)
from libs.common.contracts.risk import PanicRaised, PanicRequested, PanicReset
from libs.common.contracts.venue import VenueCancelRequested
from libs.common.messaging.work import Work, origin
from libs.common.testing import NOON
from services.trading.app import app
from services.trading.handlers.panics import halt
from services.trading.store.panics import OPERATOR
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    CALL,
    INFY,
    SBIN,
    USER,
    accepted,
    cancelled,
    change_to,
    cleared,
    execution,
    filled,
    later,
    panic,
    reset,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits, tick


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
    assert (only(OrderDenied, fresh).rule, only(OrderDenied, fresh).value) == (DenialRule.HALTED, f"USER:{USER}")
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


async def test_a_fill_under_an_operators_halt_closes_nothing_until_somebody_panics(trading: Trading) -> None:
    """After a restore the books may be older than the broker's: what they show was closed, and so opened there, at the
    first fill of an order that had rested.
    """
    held, resting = cleared(Side.BUY, 10), cleared(instrument=INFY)
    await trading.hears(held, filled(held, 10), resting, accepted(resting))
    work = Work(app, trading.memory, trading.connection, NOON)
    await halt(panic().model_copy(update={"requested_by": OPERATOR}), work.context(origin(app, NOON)))
    await work.store.write()
    assert "SquareOffStarted" not in names(await trading.hears(filled(resting, 4, leaves=6)))
    said = await trading.hears(panic(n=2))
    assert "SquareOffStarted" in names(said)
    for each in exits(said) + exits(await trading.hears(cancelled(resting))):
        await trading.hears(clear(each), filled(clear(each), each.quantity))
    late = await trading.hears(filled(resting, 1))
    assert only(SquareOffStarted, late).closing == 1


async def test_a_closing_of_before_an_operators_halt_waits_for_the_reset(trading: Trading) -> None:
    """It was in the backup, and went on after the restore by books that may be older than the broker's."""
    held = cleared(Side.BUY, 10)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(square_off()))
    work = Work(app, trading.memory, trading.connection, later(1))
    await halt(panic().model_copy(update={"requested_by": OPERATOR}), work.context(origin(app, later(1))))
    await work.store.write()
    said = await trading.hears(clear(request), now=later(2))
    assert names(said) == ["OrderDenied"]
    assert await tick(trading, later(60)) == []
    await trading.hears(reset(by_admin=True), now=later(61))
    [again] = exits(await tick(trading, later(62)))
    assert (again.side, again.quantity, again.epoch) == (Side.SELL, 10, 1)


@pytest.mark.parametrize("wish", [square_off(n=2), panic(f"ACCOUNT:{ACCOUNT}", n=2), panic(n=3)])
async def test_what_a_person_closes_under_an_operators_halt_is_closed(
    trading: Trading, wish: SquareOffRequested | PanicRequested
) -> None:
    held = cleared(Side.BUY, 10)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(panic(f"ACCOUNT:{ACCOUNT}")))
    work = Work(app, trading.memory, trading.connection, later(1))
    await halt(panic(n=9).model_copy(update={"requested_by": OPERATOR}), work.context(origin(app, later(1))))
    await work.store.write()
    await trading.hears(clear(request), now=later(2))
    [again] = exits([*await trading.hears(wish, now=later(3)), *await tick(trading, later(4))])
    assert (again.side, again.quantity) == (Side.SELL, 10)


async def test_what_is_opened_after_a_reset_stays_though_the_panic_has_still_to_close(trading: Trading) -> None:
    """An option that nobody bids for kept the panic at work on the whole account: whatever was opened after the reset
    was cancelled, or closed, at once, for as long as the option lived.
    """
    held, gone = cleared(Side.BUY, 10, instrument=CALL), cleared(Side.BUY, 10)
    await trading.hears(held, filled(held, 10), gone, filled(gone, 10))
    asked = {each.instrument: clear(each) for each in exits(await trading.hears(panic()))}
    nobody_bids, sold = asked[CALL], asked[SBIN]
    await trading.hears(nobody_bids, accepted(nobody_bids), sold, filled(sold, 10), now=later(1))
    told = await trading.hears(reset(), now=later(60))
    assert exits(told) == [], "it rests at its venue"
    entry, resting = cleared(Side.BUY, 5, epoch=1), cleared(Side.BUY, 5, instrument=INFY, epoch=1)
    said = await trading.hears(entry, filled(entry, 5), resting, accepted(resting), now=later(61))
    assert not {"OrderRequested", "VenueCancelRequested"} & set(names(said))
    assert await tick(trading, later(62)) == []
    [left] = only(SquareOffCompleted, told).left
    assert (left.instrument, left.quantity) == (CALL, 10)
    assert left.square_off_id == only(SquareOffStarted, told).square_off_id
    said = await trading.hears(filled(nobody_bids, 10), now=later(63))
    assert only(SquareOffCompleted, said).square_off_id == left.square_off_id
    assert await tick(trading, later(64)) == []


async def test_what_fills_across_a_panics_cancel_is_closed_though_the_panic_was_reset(trading: Trading) -> None:
    pending = cleared(Side.BUY, 10, instrument=INFY)
    await trading.hears(pending, accepted(pending))
    await trading.hears(panic(), reset())
    entry = cleared(Side.BUY, 5, epoch=1)
    assert exits(await trading.hears(entry, filled(entry, 5), filled(pending, 4, leaves=6))) == []
    [request] = exits(await trading.hears(cancelled(pending)))
    assert (request.instrument, request.side, request.quantity) == (INFY, Side.SELL, 4)
    said = await trading.hears(clear(request), filled(clear(request), 4))
    assert "SquareOffCompleted" in names(said)
    assert await tick(trading, later(60)) == []


async def test_a_reset_leaves_a_panic_at_work_where_another_is_in_force(trading: Trading) -> None:
    held = cleared(Side.BUY, 10)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(panic(f"ACCOUNT:{ACCOUNT}"), panic(f"USER:{USER}", n=2)))
    assert names(await trading.hears(reset(f"ACCOUNT:{ACCOUNT}"))) == ["PanicReset"]
    said = await trading.hears(reset(f"USER:{USER}"))
    assert [each.instrument for each in only(SquareOffCompleted, said).left] == [SBIN]
    [again] = exits(await trading.hears(clear(request)))
    assert (again.quantity, again.epoch) == (10, 2)
    assert "SquareOffCompleted" in names(await trading.hears(clear(again), filled(clear(again), 10)))


async def test_an_exit_caught_by_a_panic_is_asked_for_again_under_the_new_epoch(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert exits(await trading.hears(panic())) == []
    said = await trading.hears(clear(request))
    assert only(OrderDenied, said).rule is DenialRule.STALE_EPOCH
    [again] = exits(said)
    assert again.epoch == 1


async def test_what_an_admin_stopped_its_owner_does_not_begin_again(trading: Trading) -> None:
    scope = f"ACCOUNT:{ACCOUNT}"
    await trading.hears(panic(scope, by_admin=True))
    assert only(PanicRaised, await trading.hears(panic(scope, n=2))).epoch == 1
    refused = only(RequestRefused, await trading.hears(reset(scope)))
    assert (refused.code, refused.request) == ("forbidden", "PanicResetRequested")
    assert only(OrderDenied, await trading.hears(cleared(epoch=1))).rule is DenialRule.HALTED
    assert only(PanicReset, await trading.hears(reset(scope, by_admin=True))).epoch == 1
    assert "VenueOrderRequested" in names(await trading.hears(cleared(epoch=1)))
    await trading.hears(panic(scope, n=3))
    assert only(PanicReset, await trading.hears(reset(scope))).epoch == 2


async def test_an_admin_who_stops_what_is_stopped_already_is_the_one_who_begins_it_again(trading: Trading) -> None:
    scope = f"USER:{USER}"
    await trading.hears(panic(scope))
    assert only(PanicRaised, await trading.hears(panic(scope, n=2, by_admin=True))).epoch == 1
    assert only(RequestRefused, await trading.hears(reset(scope))).code == "forbidden"
    assert only(PanicReset, await trading.hears(reset(scope, by_admin=True))).epoch == 1


async def test_a_reset_from_before_the_newest_panic_begins_nothing_again(trading: Trading) -> None:
    """Its sender was told that it was not taken, and stopped once more; it had only waited for Kafka."""
    scope = f"ACCOUNT:{ACCOUNT}"
    wish = reset(scope)
    later = panic(scope, n=101)
    assert later.panic_id > wish.panic_id
    await trading.hears(panic(scope), later)
    refused = only(RequestRefused, await trading.hears(wish))
    assert (refused.code, refused.request) == ("conflict", "PanicResetRequested")
    assert only(OrderDenied, await trading.hears(cleared(epoch=1))).rule is DenialRule.HALTED


async def test_a_malformed_scope_is_refused(trading: Trading) -> None:
    refused = only(RequestRefused, await trading.hears(panic("ACCOUNT:7")))
    assert refused.code == "invalid"
