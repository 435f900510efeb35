"""Square-offs whose orders nobody answered for: they wait for the broker's book, and not for a person."""

from datetime import timedelta

import pytest

from libs.common.contracts.brokers import BrokerCancelRequested
from libs.common.contracts.enums import Broker, ExecutionKind, Side, SquareOffReason
from libs.common.contracts.ids import AccountId
from libs.common.contracts.orders import OrderOutcomeUnknown, SquareOffCompleted, SquareOffStarted
from libs.common.testing import NOON
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    INFY,
    SBIN,
    accepted,
    account_save,
    cleared,
    execution,
    filled,
    later,
    order_id,
    panic,
    reset,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits, tick

THEIRS = AccountId(order_id(45))
CLOSING = square_off().model_copy(update={"account_id": THEIRS})
MORNING = NOON + timedelta(hours=20)
"""8:00 in India on the next day."""


async def logs_in(trading: Trading) -> None:
    save = account_save(account_id=THEIRS)
    live = save.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(save.model_copy(update={"account": live}))


async def trades_on(trading: Trading, epoch: int = 0) -> None:
    """What is ordered now is neither cancelled nor closed."""
    entry = cleared(Side.BUY, 5, instrument=INFY, account_id=THEIRS, epoch=epoch)
    now = MORNING + timedelta(hours=2)
    said = await trading.hears(entry, accepted(entry), filled(entry, 4, leaves=1), now=now)
    assert not {"BrokerCancelRequested", "OrderRequested"} & set(names(said))
    assert await tick(trading, now + timedelta(seconds=1)) == []


async def test_an_entry_that_nobody_answered_for_holds_up_no_panic_when_its_day_is_over(trading: Trading) -> None:
    """Until somebody settled it the panic went on, and cancelled and closed all that was done after its reset."""
    await logs_in(trading)
    lost, held = (cleared(Side.BUY, 10, instrument=each, account_id=THEIRS) for each in (SBIN, INFY))
    await trading.hears(lost, execution(lost, ExecutionKind.UNKNOWN), held, filled(held, 10))
    [request] = exits(await trading.hears(panic()))
    assert request.instrument == INFY
    await trading.hears(clear(request), filled(clear(request), 10), now=later(1))
    assert await tick(trading, MORNING - timedelta(seconds=1)) == [], "the broker may still tell"
    assert only(SquareOffCompleted, await tick(trading, MORNING)).left == ()
    await trading.hears(reset(), now=MORNING)
    await trades_on(trading, epoch=1)


async def test_an_exit_whose_end_nobody_saw_is_not_sent_a_second_time(trading: Trading) -> None:
    """Trading was away when it filled. Told as expired, it was sent anew in the morning, and sold what was sold."""
    await logs_in(trading)
    held = cleared(Side.BUY, 10, account_id=THEIRS)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(CLOSING))
    sent = clear(request)
    await trading.hears(sent, accepted(sent), filled(sent, 4, leaves=6))
    said = await trading.hears(execution(sent, ExecutionKind.UNSEEN), now=MORNING - timedelta(hours=2))
    assert only(OrderOutcomeUnknown, said).filled_quantity == 4
    assert exits(said) == []
    morning = await tick(trading, MORNING)
    [left] = only(SquareOffCompleted, morning).left
    assert (left.quantity, left.reason) == (6, "nobody answered for its exit: settle that order")
    assert exits(morning) == exits(await tick(trading, MORNING + timedelta(hours=2))) == []
    said = await trading.hears(filled(sent, 6), now=MORNING + timedelta(hours=3))
    assert "SquareOffCompleted" in names(said)


@pytest.mark.parametrize("reason", [SquareOffReason.CLOSE, SquareOffReason.MTM_BREACH])
async def test_what_an_unanswered_exit_may_have_closed_is_left_to_its_own_closing(
    trading: Trading, reason: SquareOffReason
) -> None:
    await logs_in(trading)
    held = cleared(Side.BUY, 10, account_id=THEIRS)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(CLOSING.model_copy(update={"reason": reason})))
    await trading.hears(clear(request), execution(clear(request), ExecutionKind.UNKNOWN))
    assert await tick(trading, MORNING - timedelta(seconds=1)) == []
    said = await tick(trading, MORNING)
    [left] = only(SquareOffCompleted, said).left
    assert (left.instrument, left.quantity) == (SBIN, 10)
    assert left.reason == "nobody answered for its exit: settle that order"
    assert left.square_off_id == only(SquareOffStarted, said).square_off_id
    assert exits(said) == [], "it would close twice what the first one closed"
    await trades_on(trading)
    now = MORNING + timedelta(hours=3)
    not_taken = execution(clear(request), ExecutionKind.REJECTED, reason="settled by hand")
    assert not any(isinstance(m, BrokerCancelRequested) for m in await trading.hears(not_taken, now=now))
    [again] = exits(await tick(trading, now + timedelta(seconds=2)))
    assert (again.instrument, again.quantity, again.square_off_id) == (SBIN, 10, left.square_off_id)
