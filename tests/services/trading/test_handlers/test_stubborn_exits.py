"""Exits that are denied, refused, half filled or never answered are asked for again, after growing pauses."""

from datetime import timedelta

import pytest

from libs.common.contracts.base import Message
from libs.common.contracts.enums import DenialRule, ExecutionKind, OrderPurpose, Side, SquareOffReason
from libs.common.contracts.ids import StrategyId
from libs.common.contracts.orders import OrderDenied, SquareOffCompleted, SquareOffStarted
from libs.common.contracts.portfolio import PositionChanged
from libs.common.contracts.venue import VenueCancelRequested
from libs.common.testing import NOON
from services.trading.domain import square_offs
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    CALL,
    INFY,
    SBIN,
    accepted,
    cancelled,
    cleared,
    execution,
    filled,
    later,
    order_id,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, deny, exits, tick


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


async def test_freqtrade_8374_partial_fill_of_an_exit_is_followed_by_one_for_the_rest(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert exits(await trading.hears(clear(request), filled(clear(request), 4, leaves=6))) == []
    assert exits(await trading.hears(execution(clear(request), ExecutionKind.EXPIRED))) == []
    [rest] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    assert rest.quantity == 6


async def test_freqtrade_8526_after_partial_exits_that_were_cancelled_only_what_is_left_is_closed(
    trading: Trading,
) -> None:
    """A stop filled in part and cancelled, then an exit in part: the next was for too much, and forcing it failed."""
    entry, stop = cleared(Side.BUY, 10), cleared(Side.SELL, 10, purpose=OrderPurpose.EXIT)
    await trading.hears(entry, filled(entry, 10), stop, accepted(stop), filled(stop, 4, leaves=6))
    leave = cleared(Side.SELL, 6, purpose=OrderPurpose.EXIT)
    await trading.hears(cancelled(stop), leave, accepted(leave), filled(leave, 1, leaves=5))
    assert exits(await trading.hears(square_off())) == [], "the exit that is open is cancelled first"
    [rest] = exits(await trading.hears(cancelled(leave)))
    assert (rest.side, rest.quantity) == (Side.SELL, 5)
    assert exits(await trading.hears(clear(rest), filled(clear(rest), 2, leaves=3))) == []
    assert exits(await trading.hears(square_off(n=2))) == [], "who forces it meanwhile closes nothing twice"
    assert exits(await trading.hears(execution(clear(rest), ExecutionKind.EXPIRED))) == []
    [last] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    assert last.quantity == 3
    said = await trading.hears(clear(last), filled(clear(last), 3))
    assert names(said).count("SquareOffCompleted") == 2
    assert only(PositionChanged, said).net.quantity == 0


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


async def test_who_closes_all_and_trades_on_keeps_that_though_nobody_buys_some_of_the_rest(trading: Trading) -> None:
    """An option without a bid kept the closing at work until it expired: whatever its owner opened meanwhile was
    cancelled, or closed, at once, and nobody could end that.
    """
    held, gone = cleared(instrument=CALL), cleared()
    await trading.hears(held, filled(held, 10), gone, filled(gone, 10))
    asked = {each.instrument: clear(each) for each in exits(await trading.hears(square_off()))}
    nobody_bids, sold = asked[CALL], asked[SBIN]
    await trading.hears(nobody_bids, accepted(nobody_bids), sold, filled(sold, 10), now=later(1))
    assert await tick(trading, later(29)) == []
    told = await tick(trading, later(30))
    entry, resting = cleared(), cleared(instrument=INFY)
    said = await trading.hears(entry, filled(entry, 10), resting, accepted(resting), now=later(31))
    assert not {"OrderRequested", "VenueCancelRequested"} & set(names(said))
    [left] = only(SquareOffCompleted, told).left
    assert (left.instrument, left.quantity) == (CALL, 10)
    assert left.square_off_id == only(SquareOffStarted, told).square_off_id
    said = await trading.hears(filled(nobody_bids, 10), now=later(60))
    assert only(SquareOffCompleted, said).square_off_id == left.square_off_id
    assert await tick(trading, later(61)) == []


async def test_who_closes_all_and_trades_on_keeps_that_though_risk_denies_an_exit_again_and_again(
    trading: Trading,
) -> None:
    held = cleared()
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(square_off()))
    for n in range(3):
        await trading.hears(deny(request, DenialRule.NO_REFERENCE_PRICE), now=later(31 * n))
        [request] = exits(await tick(trading, later(31 * n + 30)))
    entry = cleared(instrument=INFY)
    said = await trading.hears(entry, filled(entry, 10), now=later(93))
    assert exits(said) == []
    said = await trading.hears(clear(request), filled(clear(request), 10), now=later(94))
    assert "SquareOffCompleted" in names(said)
    assert await tick(trading, later(95)) == []


async def test_what_a_limit_of_yesterday_has_still_to_close_closes_nothing_that_is_opened_today(
    trading: Trading,
) -> None:
    """A share that stood at its lower limit for days had all closed that its account opened in those."""
    held = cleared(Side.BUY, 10)
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(square_off(reason=SquareOffReason.MTM_BREACH)))
    await trading.hears(clear(request), accepted(clear(request)))
    again = cleared(Side.BUY, 10, instrument=INFY)
    [closed] = exits(await trading.hears(again, filled(again, 10), now=later(3600)))
    await trading.hears(clear(closed), filled(clear(closed), 10), now=later(3601))
    tomorrow = NOON + timedelta(days=1)
    told = await tick(trading, tomorrow)
    entry = cleared(Side.BUY, 10, instrument=INFY)
    assert exits(await trading.hears(entry, filled(entry, 10), now=tomorrow)) == []
    [left] = only(SquareOffCompleted, told).left
    said = await trading.hears(filled(clear(request), 10), now=tomorrow)
    assert only(SquareOffCompleted, said).square_off_id == left.square_off_id
    assert await tick(trading, tomorrow + timedelta(seconds=1)) == []


async def test_an_exit_that_risk_denies_is_asked_for_again_after_a_pause(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert names(await trading.hears(deny(request, DenialRule.NO_REFERENCE_PRICE))) == ["OrderDenied"]
    assert await tick(trading, NOON + timedelta(seconds=0.5)) == []
    [again] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    assert again.quantity == 10


async def test_an_expired_contract_is_left_and_what_is_opened_later_stays(trading: Trading) -> None:
    """A square-off that waited for it for ever would cancel and close whatever the account ever does again."""
    held, other = cleared(), cleared(instrument=INFY)
    await trading.hears(held, filled(held, 10), other, filled(other, 10))
    infy, sbin = exits(await trading.hears(square_off()))
    await trading.hears(deny(sbin, DenialRule.INSTRUMENT_NOT_TRADABLE, "2026-11-24"))
    said = await trading.hears(clear(infy), filled(clear(infy), 10))
    assert only(SquareOffCompleted, said).expired == (SBIN,)
    entry = cleared(instrument=INFY)
    assert "OrderRequested" not in names(await trading.hears(entry, filled(entry, 10)))
    assert await tick(trading, NOON + timedelta(minutes=1)) == []


async def test_a_contract_that_cannot_be_traded_for_now_is_tried_again(trading: Trading) -> None:
    entry = cleared()
    await trading.hears(entry, filled(entry, 10))
    [request] = exits(await trading.hears(square_off()))
    assert names(await trading.hears(deny(request, DenialRule.INSTRUMENT_NOT_TRADABLE))) == ["OrderDenied"]
    [again] = exits(await tick(trading, NOON + timedelta(seconds=2)))
    assert again.quantity == 10


async def test_a_delisted_share_is_left_after_some_minutes_and_what_is_opened_later_stays(trading: Trading) -> None:
    """A square-off that tried it for ever would ask for 2,880 orders a day, and close whatever the account opens."""
    held = cleared()
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(square_off()))
    said: list[Message] = []
    at = NOON
    while not any(each.expired for each in said if isinstance(each, SquareOffCompleted)):
        said = await trading.hears(deny(request, DenialRule.INSTRUMENT_NOT_TRADABLE), now=at)
        at += timedelta(seconds=31)
        found = exits(await tick(trading, at))
        request = found[0] if found else request
        assert at < NOON + timedelta(minutes=10)
    assert at > NOON + timedelta(minutes=4), "risk may lack a contract for a moment"
    assert only(SquareOffCompleted, said).expired == (SBIN,)
    entry = cleared(instrument=INFY)
    assert "OrderRequested" not in names(await trading.hears(entry, filled(entry, 10), now=at))
    assert await tick(trading, at + timedelta(minutes=1)) == []


BOOKS = [StrategyId(order_id(n)) for n in range(100, 113)]
"""More than tries until a share counts as delisted."""


async def test_a_share_that_risk_lacks_for_a_moment_is_closed_however_many_books_hold_it(trading: Trading) -> None:
    """One look that failed counted thirteen times: the panic of who ran as many algos left all of their positions."""
    held = [cleared(strategy=each) for each in BOOKS]
    await trading.hears(*held, *(filled(each, 10) for each in held))
    asked = exits(await trading.hears(square_off()))
    said = await trading.hears(*(deny(each, DenialRule.INSTRUMENT_NOT_TRADABLE) for each in asked))
    assert "SquareOffCompleted" not in names(said)
    assert len(exits(await tick(trading, later(1)))) == len(BOOKS)


async def test_books_whose_exits_fail_together_wait_as_long_as_one(trading: Trading) -> None:
    """One look of risk's without a price kept a panic over six algos waiting for half a minute, not for a second."""
    held = [cleared(strategy=each) for each in BOOKS[:6]]
    await trading.hears(*held, *(filled(each, 10) for each in held))
    asked = exits(await trading.hears(square_off()))
    await trading.hears(*(deny(each, DenialRule.NO_REFERENCE_PRICE) for each in asked))
    assert await tick(trading, later(0.5)) == []
    assert len(exits(await tick(trading, later(1)))) == 6


async def test_what_failed_for_long_is_not_left_at_risks_first_word_that_it_cannot_be_traded(trading: Trading) -> None:
    """Its owner had not logged in at his broker for ten minutes; then risk lacked the contract for a moment."""
    held = cleared()
    await trading.hears(held, filled(held, 10))
    [request] = exits(await trading.hears(square_off()))
    for n in range(20):
        await trading.hears(deny(request, DenialRule.NO_REFERENCE_PRICE), now=later(31 * n))
        [request] = exits(await tick(trading, later(31 * n + 30)))
    said = await trading.hears(deny(request, DenialRule.INSTRUMENT_NOT_TRADABLE), now=later(31 * 20))
    assert "SquareOffCompleted" not in names(said)
    [again] = exits(await tick(trading, later(31 * 21)))
    assert again.quantity == 10


async def test_who_closes_what_another_closing_has_left_as_delisted_is_not_hindered_by_that(trading: Trading) -> None:
    """It is listed again, and the first one, which waits for something else, cancelled each exit of the second."""
    sbin, infy = cleared(), cleared(instrument=INFY)
    await trading.hears(sbin, filled(sbin, 10), infy, filled(infy, 10))
    waiting, request = exits(await trading.hears(square_off()))
    await trading.hears(clear(waiting), accepted(clear(waiting)))
    for n in range(square_offs.TRIES_UNTRADABLE):
        await trading.hears(deny(request, DenialRule.INSTRUMENT_NOT_TRADABLE), now=later(31 * n))
        [request] = exits(await tick(trading, later(31 * n + 30)))
    now = later(31 * square_offs.TRIES_UNTRADABLE)
    await trading.hears(deny(request, DenialRule.INSTRUMENT_NOT_TRADABLE), now=now)
    assert exits(await tick(trading, now + timedelta(minutes=1))) == [], "it was left"
    [again] = exits(await trading.hears(square_off(n=2, instrument=SBIN), now=now))
    said = await trading.hears(clear(again), accepted(clear(again)), now=now)
    assert "VenueCancelRequested" not in names(said)


async def test_an_exit_that_would_close_more_than_is_held_by_now_is_cancelled(trading: Trading) -> None:
    """Its owner closed a part by himself meanwhile; the exit would have opened the opposite."""
    entry, by_hand = cleared(Side.BUY, 10), cleared(Side.SELL, 4, purpose=OrderPurpose.EXIT)
    await trading.hears(entry, filled(entry, 10), by_hand, accepted(by_hand))
    await trading.hears(square_off())
    [request] = exits(await tick(trading, NOON + timedelta(seconds=3)))
    await trading.hears(clear(request), accepted(clear(request)))
    said = await trading.hears(filled(by_hand, 4))
    [cancel] = [each for each in said if isinstance(each, VenueCancelRequested)]
    assert cancel.order_id == request.order_id
    await trading.hears(cancelled(clear(request)))
    [rest] = exits(await tick(trading, NOON + timedelta(seconds=5)))
    assert (rest.side, rest.quantity) == (Side.SELL, 6)


@pytest.mark.parametrize(("by_then", "left"), [(10, 0), (4, 6)])
async def test_an_exit_is_not_sent_when_its_position_was_closed_while_risk_decided_about_it(
    trading: Trading, by_then: int, left: int
) -> None:
    """At the market it had turned the position over before any cancel could reach it."""
    entry, by_hand = cleared(Side.BUY, 10), cleared(Side.SELL, by_then, purpose=OrderPurpose.EXIT)
    await trading.hears(entry, filled(entry, 10), by_hand, accepted(by_hand))
    await trading.hears(square_off())
    [request] = exits(await tick(trading, later(3)))
    assert exits(await trading.hears(filled(by_hand, by_then), now=later(4))) == []
    said = await trading.hears(clear(request), now=later(5))
    assert only(OrderDenied, said).rule is DenialRule.NOT_REDUCING
    assert ("SquareOffCompleted" in names(said)) == (left == 0)
    assert [rest.quantity for rest in exits(await tick(trading, later(6)))] == ([left] if left else [])


async def test_an_exit_found_after_another_took_its_place_is_cancelled(trading: Trading) -> None:
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [lost] = exits(await trading.hears(square_off()))
    await trading.hears(clear(lost), execution(clear(lost), ExecutionKind.REJECTED))
    [again] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    await trading.hears(clear(again), accepted(clear(again)))
    said = await trading.hears(execution(clear(lost), ExecutionKind.FOUND), now=NOON + timedelta(seconds=2))
    cancels = [each.order_id for each in said if isinstance(each, VenueCancelRequested)]
    assert len(cancels) == 1, "one of the two goes on"
    assert cancels[0] in (lost.order_id, again.order_id)


async def test_an_exit_found_after_its_square_off_was_over_is_cancelled(trading: Trading) -> None:
    """Nobody needs it any more: it would open the opposite of what was closed, and nothing would close that."""
    entry = cleared(Side.BUY, 10)
    await trading.hears(entry, filled(entry, 10))
    [lost] = exits(await trading.hears(square_off()))
    await trading.hears(clear(lost), execution(clear(lost), ExecutionKind.REJECTED))
    [again] = exits(await tick(trading, NOON + timedelta(seconds=1)))
    said = await trading.hears(clear(again), filled(clear(again), 10))
    assert "SquareOffCompleted" in names(said)
    said = await trading.hears(execution(clear(lost), ExecutionKind.FOUND), now=NOON + timedelta(seconds=2))
    assert [each.order_id for each in said if isinstance(each, VenueCancelRequested)] == [lost.order_id]
