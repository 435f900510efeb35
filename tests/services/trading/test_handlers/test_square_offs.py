"""A square-off closes what its scope holds, once, through risk, and is then over."""

from datetime import timedelta

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType, Side, SquareOffReason
from libs.common.contracts.orders import OrderCancelRequested, SquareOffCompleted, SquareOffStarted
from libs.common.contracts.portfolio import PositionChanged
from libs.common.testing import NOON
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    INFY,
    SBIN,
    USER,
    accepted,
    cancelled,
    cleared,
    filled,
    later,
    order_id,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, deny, exits, tick


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


async def test_trading_gpt_94_two_square_offs_never_close_the_same_quantity_twice(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10, strategy=ALPHA)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off(strategy=ALPHA)))
    assert exits(await trading.hears(square_off(n=2))) == []
    said = await trading.hears(clear(request), filled(clear(request), 10))
    assert names(said).count("SquareOffCompleted") == 2


async def test_limits_that_are_reached_while_one_closes_their_scope_begin_no_other_square_off(trading: Trading) -> None:
    """Each of a hundred limits, rupees apart, began one, and each day another of what nobody buys: every fill of the
    account was looked at by all of them.
    """
    breach = SquareOffReason.MTM_BREACH
    entry = cleared(Side.BUY, 10, strategy=ALPHA)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off(reason=breach)))
    assert await trading.hears(square_off(reason=breach, n=2)) == []
    narrower = square_off(strategy=ALPHA, reason=breach, n=3)
    assert only(SquareOffStarted, await trading.hears(narrower)).closing == 1, "that of the account may end before it"
    said = await trading.hears(clear(request), filled(clear(request), 10))
    assert names(said).count("SquareOffCompleted") == 2
    assert names(await trading.hears(square_off(reason=breach, n=4))) == ["SquareOffStarted", "SquareOffCompleted"]


async def test_who_asks_again_and_again_for_what_nobody_trades_begins_no_more_than_three(trading: Trading) -> None:
    """A program that did each second had thousands of closings look at each thing that happened in the account, and the
    others waited.
    """
    entry = cleared(Side.BUY, 10, strategy=ALPHA)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off(instrument=SBIN, n=1)))
    for n in (2, 3):
        assert names(await trading.hears(square_off(instrument=SBIN, n=n))) == ["SquareOffStarted"]
    for n in (4, 5):
        told = only(SquareOffCompleted, await trading.hears(square_off(instrument=SBIN, n=n)))
        assert told.square_off_id == square_off(n=n).square_off_id
        [left] = told.left
        assert (left.quantity, left.square_off_id) == (10, square_off(n=1).square_off_id)
    wider = await trading.hears(square_off(n=6))
    assert names(wider) == ["SquareOffStarted"], "it closes more"
    said = await trading.hears(clear(request), filled(clear(request), 10))
    assert names(said).count("SquareOffCompleted") == 4
    assert names(await trading.hears(square_off(instrument=SBIN, n=7))) == ["SquareOffStarted", "SquareOffCompleted"]


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


async def test_a_size_learned_before_the_lots_were_changed_is_learned_anew(trading: Trading) -> None:
    """Every exit would be cut to a size that is in no whole lots any more, and be refused for ever."""
    entry = cleared(Side.BUY, 100)
    await trading.hears(entry, filled(entry, 100))
    [request] = exits(await trading.hears(square_off()))
    parts = exits(await trading.hears(deny(request, DenialRule.FREEZE_QUANTITY, limit="40")))
    for part in parts:
        await trading.hears(deny(part, DenialRule.LOT_SIZE, limit="25"))
    [whole] = exits(await tick(trading, NOON + timedelta(seconds=30)))
    assert whole.quantity == 100
    parts = exits(await trading.hears(deny(whole, DenialRule.FREEZE_QUANTITY, limit="50"), now=later(30)))
    assert [part.quantity for part in parts] == [50, 50]


async def test_a_person_may_not_cancel_an_exit_that_risk_has_not_decided(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    cancel = OrderCancelRequested(order_id=request.order_id, account_id=ACCOUNT, user_id=USER)
    assert names(await trading.hears(cancel)) == ["OrderCancelRefused"]
    assert names(await trading.hears(clear(request)))[0] == "OrderSubmitted"


async def test_every_square_off_of_ten_positions_ends_in_one_completion(trading: Trading) -> None:
    strategies = [None, ALPHA, BETA]
    entries = [cleared(strategy=s, instrument=i) for s in strategies for i in (SBIN, INFY)]
    await trading.hears(*entries, *[filled(e, 10) for e in entries])
    requests = exits(await trading.hears(square_off()))
    said = await trading.hears(*map(clear, requests), *[filled(clear(r), 10) for r in requests])
    assert names(said).count("SquareOffCompleted") == 1
    assert await tick(trading, NOON + timedelta(seconds=5)) == []
