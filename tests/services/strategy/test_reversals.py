"""A signal the other way: first flat, then in again."""

from datetime import timedelta

import pytest

from libs.common.contracts.algos import SignalActedOn, SignalSkipped
from libs.common.contracts.enums import RepeatRule, Side, SignalType
from libs.common.contracts.ids import SquareOffId
from libs.common.database import Connection
from libs.common.ids import new_id
from tests.services.strategy.desk import SELL, Desk, completed, orders_of, reasons_of, square_offs_of
from tests.services.strategy.scene import (
    FIRST,
    FUTURE_LEG,
    LOT,
    NOW,
    SECOND,
    USER,
    a_signal,
    an_account,
    an_algo,
    an_exit,
    knowing,
    save,
)


async def test_a_reversal_squares_off_and_enters_the_other_way_when_flat(long: Desk) -> None:
    signal = a_signal(action=SELL)
    said = await long.hear(signal)
    [square_off] = square_offs_of(said)
    assert orders_of(said) == []
    said = await long.hear(*long.flattened(square_off))
    [order] = orders_of(said)
    assert (order.side, order.quantity) == (SELL, LOT)
    assert said[-1] == SignalActedOn(
        algo_id=order.strategy_id,
        user_id=USER,
        signal_id=signal.signal_id,
        signal_type=SignalType.ENTRY,
        order_ids=(str(order.order_id),),
    )
    [back] = square_offs_of(await long.hear(long.filled(order), a_signal()))
    [order] = orders_of(await long.hear(*long.flattened(back)))
    assert order.side is Side.BUY


async def test_a_signal_in_the_direction_held_is_skipped(long: Desk) -> None:
    assert reasons_of(await long.hear(a_signal())) == ["in position already in the direction of buy"]


async def test_the_newest_of_several_reversals_counts(long: Desk) -> None:
    older, newer = a_signal(action=SELL), a_signal()
    [square_off] = square_offs_of(await long.hear(older))
    said = await long.hear(newer)
    assert square_offs_of(said) == []
    assert [each.signal_id for each in said if isinstance(each, SignalSkipped)] == [older.signal_id]
    [order] = orders_of(await long.hear(*long.flattened(square_off)))
    assert order.side is Side.BUY


async def test_an_exit_calls_a_waiting_reversal_off(long: Desk) -> None:
    reversal = a_signal(action=SELL)
    [square_off] = square_offs_of(await long.hear(reversal))
    said = await long.hear(an_exit())
    assert reversal.signal_id in {each.signal_id for each in said if isinstance(each, SignalSkipped)}
    assert await long.hear(*long.flattened(square_off)) == []


async def test_a_reversal_gives_up_when_the_old_position_does_not_close(long: Desk) -> None:
    signal = a_signal(action=SELL)
    [square_off] = square_offs_of(await long.hear(signal))
    assert await long.tick() == []
    await long.pass_time(61)
    [skipped] = await long.tick()
    assert isinstance(skipped, SignalSkipped)
    assert skipped.signal_id == signal.signal_id
    assert await long.tick() == []
    assert await long.hear(*long.flattened(square_off)) == []
    assert len(orders_of(await long.hear(a_signal(at=long.now)))) == 1


async def test_a_position_that_closes_too_late_is_not_reversed(long: Desk) -> None:
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    await long.pass_time(61)
    said = await long.hear(*long.flattened(square_off))
    assert orders_of(said) == []
    assert reasons_of(said) == ["the old position was not closed in time to enter"]


async def test_what_is_being_closed_is_no_position_to_stay_in_however_long_that_takes(long: Desk) -> None:
    """What a signal after the close is to turn round waits for the opening. Seen: the next signal the other way heard
    that the algo is in position in that direction already; then it was closed, and the algo was out of the market.
    """
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    await long.pass_time(61)
    await long.tick()
    said = await long.hear(a_signal(at=long.now))
    assert (square_offs_of(said), reasons_of(said)) == ([], [])
    [order] = orders_of(await long.hear(*long.flattened(square_off)))
    assert order.side is Side.BUY


async def test_an_algo_switched_off_meanwhile_does_not_reverse(long: Desk) -> None:
    said = await long.hear(a_signal(action=SELL))
    [square_off] = square_offs_of(said)
    [acted] = [each for each in said if isinstance(each, SignalActedOn)]
    off = an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE, algo_id=acted.algo_id, active=False)
    await long.hear(save(off, 1))
    said = await long.hear(*long.flattened(square_off))
    assert orders_of(said) == []
    assert reasons_of(said) == ["the algo was changed before it could enter"]


async def test_an_algo_that_reverses_no_more_enters_nothing_for_a_reversal_that_waits(long: Desk) -> None:
    """Seen: a sell signal closed the long position and bought it anew, the legs as configured."""
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    await long.hear(save(an_algo([FUTURE_LEG], algo_id=long.only_algo), 1))
    said = await long.hear(*long.flattened(square_off))
    assert orders_of(said) == []
    assert reasons_of(said) == ["the algo was changed before it could enter"]


async def test_what_was_entered_before_an_algo_reversed_has_the_direction_of_its_legs(desk: Desk) -> None:
    """Seen: it had bought on a sell signal, as algos do that do not reverse. Made to reverse, it took itself for short:
    sell signals left it long, and a buy signal sold it and bought it anew.
    """
    algo = an_algo([FUTURE_LEG])
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal(action=SELL)))
    assert order.side is Side.BUY
    await desk.hear(desk.filled(order), save(algo.model_copy(update={"on_repeat": RepeatRule.REVERSE}), 1))
    assert reasons_of(await desk.hear(a_signal())) == ["in position already in the direction of buy"]
    [square_off] = square_offs_of(await desk.hear(a_signal(action=SELL)))
    [order] = orders_of(await desk.hear(*desk.flattened(square_off)))
    assert order.side is SELL


@pytest.mark.parametrize("lots", [1, 2])
async def test_an_algo_whose_legs_were_turned_round_holds_what_the_other_signal_enters(long: Desk, lots: int) -> None:
    """Seen: long since a buy signal, and made to sell on one, it stayed long on buy signals, and on a sell signal it
    sold what it held and bought it anew.
    """
    short = FUTURE_LEG.model_copy(update={"side": SELL, "lots": lots})
    await long.hear(save(an_algo([short], on_repeat=RepeatRule.REVERSE, algo_id=long.only_algo), 1))
    assert reasons_of(await long.hear(a_signal(action=SELL))) == ["in position already in the direction of sell"]
    [square_off] = square_offs_of(await long.hear(a_signal()))
    [order] = orders_of(await long.hear(*long.flattened(square_off)))
    assert (order.side, order.quantity) == (SELL, lots * LOT)


async def test_a_reversal_that_waited_out_an_outage_closes_and_does_not_enter(long: Desk) -> None:
    """Seen: nothing was done about it, and the position stayed open against the strategy that it was to follow."""
    await long.pass_time(61)
    said = await long.hear(a_signal(action=SELL, at=NOW))
    [square_off] = square_offs_of(said)
    assert reasons_of(said) == ["the signal is 61 s old: too late to enter"]
    assert await long.hear(*long.flattened(square_off)) == []
    assert len(orders_of(await long.hear(a_signal(action=SELL, at=long.now)))) == 1


async def test_a_late_signal_in_the_direction_held_changes_nothing(long: Desk) -> None:
    await long.pass_time(61)
    said = await long.hear(a_signal(at=NOW))
    assert square_offs_of(said) == []
    assert reasons_of(said) == ["the signal is 61 s old: too late to enter"]


async def test_a_reversal_closes_what_is_held_in_an_account_that_was_switched_off(long: Desk) -> None:
    said = await long.hear(an_account(FIRST, active=False), a_signal(action=SELL))
    [square_off] = square_offs_of(said)
    assert reasons_of(said) == [f"account paper {FIRST} is inactive"]
    assert await long.hear(*long.flattened(square_off)) == []


async def test_a_reversal_closes_what_an_algo_holds_that_was_switched_off(long: Desk) -> None:
    """Seen: of an algo that only ever reverses no signal was an exit any more, and the position stayed open."""
    off = an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE, algo_id=long.only_algo, active=False)
    await long.hear(save(off, 1))
    said = await long.hear(a_signal(action=SELL))
    [square_off] = square_offs_of(said)
    assert reasons_of(said) == ["the algo is inactive"]
    assert await long.hear(*long.flattened(square_off)) == []


async def test_a_reversal_closes_what_is_held_in_an_account_that_was_unlinked_since(long: Desk) -> None:
    moved = an_algo([FUTURE_LEG], (SECOND,), on_repeat=RepeatRule.REVERSE, algo_id=long.only_algo)
    await long.hear(save(moved, 1))
    said = await long.hear(a_signal(action=SELL))
    [square_off] = square_offs_of(said)
    assert square_off.account_id == FIRST
    assert [(order.account_id, order.side) for order in orders_of(said)] == [(SECOND, SELL)]
    assert await long.hear(*long.flattened(square_off)) == []


async def test_of_two_signals_that_overtook_each_other_the_newer_is_followed(long: Desk) -> None:
    newer, older = a_signal(action=SELL, at=NOW + timedelta(seconds=2)), a_signal(at=NOW + timedelta(seconds=1))
    [square_off] = square_offs_of(await long.hear(newer))
    assert reasons_of(await long.hear(older)) == ["a later signal, which closes, was faster"]
    [order] = orders_of(await long.hear(*long.flattened(square_off)))
    assert order.side is SELL


async def test_another_square_off_of_the_algo_does_not_answer_for_ours(long: Desk) -> None:
    """A stop-loss that closed the position first: ours is still at work, and would close the new entry."""
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    stop_loss = square_off.model_copy(update={"square_off_id": SquareOffId(new_id())})
    assert await long.hear(*long.flattened(stop_loss)) == []
    assert len(orders_of(await long.hear(completed(square_off)))) == 1


async def test_a_reversal_without_a_fresh_price_ends_flat_and_says_why(desk: Desk) -> None:
    await desk.keep(an_algo(on_repeat=RepeatRule.REVERSE))
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), a_signal(action=SELL)))
    desk.now += timedelta(seconds=20)
    said = await desk.hear(*desk.flattened(square_off))
    assert orders_of(said) == []
    assert reasons_of(said) == ["leg 1: the spot price of NIFTY is 20 s old"]


async def test_nautilus_4736_a_reversal_survives_a_restart(long: Desk, connection: Connection) -> None:
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    restarted = Desk(connection, await knowing())
    restarted.books = long.books
    [order] = orders_of(await restarted.hear(*restarted.flattened(square_off)))
    assert order.side is SELL
