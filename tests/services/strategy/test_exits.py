"""An exit closes what the algo opened and nothing else, and trading may refuse to."""

from datetime import timedelta

import orjson

from libs.common.contracts.algos import SignalActedOn, SignalSkipped, SquareOffRefused
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import SignalType, SquareOffReason
from libs.common.contracts.ids import InstrumentId, OrderId, SquareOffId, StrategyId
from libs.common.contracts.orders import SquareOffRequested
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from services.strategy import streams
from services.strategy.app import app
from tests.services.strategy.desk import SELL, Desk, a_change, completed, denied, orders_of, reasons_of, square_offs_of
from tests.services.strategy.scene import (
    FIRST,
    LOT,
    NOW,
    SECOND,
    SHARE_LEG,
    USER,
    a_signal,
    an_algo,
    an_exit,
    knowing,
    listed_share,
    quoted,
    save,
)


def refused_by_trading(square_off: SquareOffRequested) -> RequestRefused:
    return RequestRefused(
        entity_id=str(square_off.square_off_id),
        request="SquareOffRequested",
        code="not_found",
        reason=f"there is no account {square_off.account_id}",
    )


async def test_a_square_off_that_trading_refuses_is_told_and_the_next_exit_asks_again(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    [told] = await desk.hear(refused_by_trading(square_off))
    assert isinstance(told, SquareOffRefused)
    assert (told.square_off_id, told.account_id) == (square_off.square_off_id, FIRST)
    assert told.reason == f"there is no account {FIRST}"
    [again] = square_offs_of(await desk.hear(an_exit()))
    assert again.square_off_id != square_off.square_off_id


async def test_what_waited_for_a_refused_square_off_is_skipped(long: Desk) -> None:
    reversal = a_signal(action=SELL)
    [square_off] = square_offs_of(await long.hear(reversal))
    told, skipped = await long.hear(refused_by_trading(square_off))
    assert isinstance(told, SquareOffRefused)
    assert isinstance(skipped, SignalSkipped)
    assert skipped.signal_id == reversal.signal_id


async def test_refusals_of_others_are_not_ours(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    stranger = square_off.model_copy(update={"square_off_id": SquareOffId(new_id())})
    assert await desk.hear(refused_by_trading(stranger)) == []
    saving = RequestRefused(entity_id="ALL", request="PanicRequested", code="invalid", reason="because")
    assert await desk.hear(saving) == []
    assert reasons_of(await desk.hear(an_exit())) == ["the position is being closed already"]


async def test_an_exit_squares_off_exactly_what_the_algo_opened(desk: Desk) -> None:
    algo, other = an_algo(accounts=(FIRST, SECOND)), an_algo(mappings=())
    await desk.keep(algo, other)
    first, _ = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(first))
    signal = an_exit()
    said = await desk.hear(signal)
    assert [(each.account_id, each.strategy_id, each.reason) for each in square_offs_of(said)] == [
        (FIRST, StrategyId(algo.algo_id), SquareOffReason.SIGNAL_EXIT),
        (SECOND, StrategyId(algo.algo_id), SquareOffReason.SIGNAL_EXIT),
    ]
    assert said[-1] == SignalActedOn(
        algo_id=algo.algo_id,
        user_id=USER,
        signal_id=signal.signal_id,
        signal_type=SignalType.EXIT,
        square_off_ids=tuple(str(each.square_off_id) for each in square_offs_of(said)),
    )


async def test_an_exit_may_be_for_one_account(desk: Desk) -> None:
    await desk.keep(an_algo(accounts=(FIRST, SECOND)))
    await desk.hear(a_signal())
    said = await desk.hear(an_exit(account_id=SECOND))
    assert [each.account_id for each in square_offs_of(said)] == [SECOND]


async def test_an_exit_covers_an_account_that_was_unlinked_since(desk: Desk) -> None:
    algo = an_algo(accounts=(FIRST, SECOND))
    await desk.keep(algo)
    await desk.hear(a_signal())
    await desk.hear(save(algo.model_copy(update={"accounts": algo.accounts[:1]}), 1))
    assert len(square_offs_of(await desk.hear(an_exit()))) == 2


async def test_an_entry_that_its_exit_overtook_enters_nothing(desk: Desk, connection: Connection) -> None:
    """Seen: two instances of signals hand on by themselves what waited out an outage of Kafka, and a trader who was
    out stood in the market again.
    """
    await desk.keep(an_algo())
    assert reasons_of(await desk.hear(an_exit(at=NOW + timedelta(seconds=2)))) == ["nothing is open"]
    restarted = Desk(connection, await knowing())
    said = await restarted.hear(a_signal(at=NOW + timedelta(seconds=1)))
    assert orders_of(said) == []
    assert reasons_of(said) == ["a later signal, which closes, was faster"]
    assert len(orders_of(await restarted.hear(a_signal(at=NOW + timedelta(seconds=3))))) == 1


async def test_a_clock_that_was_set_back_keeps_no_entry_out(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(an_exit(at=NOW + timedelta(hours=1)))
    assert len(orders_of(await desk.hear(a_signal(at=NOW)))) == 1


async def test_an_exit_of_one_account_keeps_no_older_entry_out_of_the_others(desk: Desk) -> None:
    await desk.keep(an_algo(accounts=(FIRST, SECOND)))
    await desk.hear(an_exit(at=NOW + timedelta(seconds=2), account_id=FIRST))
    assert len(orders_of(await desk.hear(a_signal(at=NOW + timedelta(seconds=1), account_id=SECOND)))) == 1


async def test_an_exit_with_nothing_open_is_skipped(desk: Desk) -> None:
    await desk.keep(an_algo())
    assert reasons_of(await desk.hear(an_exit())) == ["nothing is open"]


async def test_a_repeated_exit_waits_for_the_first(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(a_signal(), an_exit())
    assert reasons_of(await desk.hear(an_exit())) == ["the position is being closed already"]
    await desk.pass_time(61)
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_an_entry_that_slips_through_behind_the_square_off_is_closed_too(desk: Desk) -> None:
    """The entry was still at risk's gate when trading found nothing to square off."""
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    assert await desk.hear(completed(square_off)) == []
    [again] = square_offs_of(await desk.hear(desk.filled(order)))
    assert again.square_off_id != square_off.square_off_id
    assert (again.account_id, again.strategy_id) == (square_off.account_id, square_off.strategy_id)
    assert await desk.hear(*desk.flattened(again)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_an_entry_that_was_given_up_for_lost_and_fills_after_all_is_closed(desk: Desk) -> None:
    """Trading was away for a while. Back, it read the exit first, and then the entry that risk had let through in time.
    Seen: it stayed open, and nothing was to close it but the exit of the next trade.
    """
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    await desk.pass_time(40)
    assert await desk.hear(completed(square_off)) == []
    [again] = square_offs_of(await desk.hear(desk.filled(order, 5)))
    assert again.square_off_id != square_off.square_off_id
    assert (again.account_id, again.strategy_id) == (square_off.account_id, square_off.strategy_id)
    assert await desk.hear(desk.filled(order, LOT - 5)) == []
    assert await desk.hear(*desk.flattened(again)) == []
    assert len(orders_of(await desk.hear(a_signal(at=desk.now)))) == 1


async def test_an_entry_that_comes_late_takes_nothing_along_that_was_entered_since(desk: Desk) -> None:
    """Seen: the algo's new position was closed with it."""
    await desk.keep(an_algo())
    [late] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    await desk.pass_time(40)
    await desk.hear(completed(square_off))
    await streams.note_prices([quoted(24_112.0, desk.now)], desk.memory)
    [entry] = orders_of(await desk.hear(a_signal(at=desk.now)))
    assert entry.instrument != late.instrument
    [closing] = square_offs_of(await desk.hear(desk.filled(entry), desk.filled(late)))
    assert (closing.strategy_id, closing.instrument) == (late.strategy_id, late.instrument)
    assert len(square_offs_of(await desk.hear(an_exit(at=desk.now)))) == 1


async def test_an_entry_that_a_person_settles_as_filled_after_the_exit_is_closed(desk: Desk) -> None:
    """Its broker never answered for it, and the next day trading closes without it. Seen: it stayed open, and the algo
    was in position.
    """
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.pass_time(26 * 3600)
    [square_off] = square_offs_of(await desk.hear(an_exit(at=desk.now)))
    assert await desk.hear(completed(square_off)) == []
    await desk.pass_time(3600)
    [again] = square_offs_of(await desk.hear(desk.filled(order)))
    assert (again.account_id, again.strategy_id) == (square_off.account_id, square_off.strategy_id)


async def test_an_entry_denied_behind_the_square_off_leaves_nothing(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    assert await desk.hear(completed(square_off), denied(order)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 1


async def test_positions_without_a_strategy_or_of_an_unknown_one_are_not_ours(desk: Desk) -> None:
    await desk.keep(an_algo())
    instrument, order = InstrumentId("NSE:SBIN"), OrderId(new_id())
    assert await desk.hear(a_change(FIRST, None, instrument, 5, order, 5)) == []
    assert await desk.hear(a_change(FIRST, StrategyId(new_id()), instrument, 5, order, 5)) == []
    assert reasons_of(await desk.hear(an_exit())) == ["nothing is open"]


async def test_what_a_person_booked_for_the_algo_is_its_too(desk: Desk) -> None:
    algo = an_algo()
    await desk.keep(algo)
    await desk.hear(a_change(FIRST, StrategyId(algo.algo_id), InstrumentId("NSE:SBIN"), 5, OrderId(new_id()), 5))
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_openalgo_1694_a_square_off_of_one_instrument_says_nothing_of_the_algo(long: Desk) -> None:
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    part = completed(square_off).model_copy(
        update={"instrument": InstrumentId("NSE:SBIN"), "square_off_id": SquareOffId(new_id())}
    )
    assert await long.hear(part) == []


async def test_what_expired_in_the_algos_hands_keeps_it_from_nothing(desk: Desk) -> None:
    """Trading cannot close it: to ask again would never end, and to hold it would end all entries."""
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    assert order.strategy_id is not None
    held = desk.filled(order)
    await desk.hear(held)
    await desk.pass_time(2 * 86_400)
    [square_off] = square_offs_of(await desk.hear(an_exit(at=desk.now)))
    assert await desk.hear(completed(square_off).model_copy(update={"expired": (order.instrument,)})) == []
    assert await what_is_held(desk) == {f"{order.instrument} MIS": LOT}, "as trading holds it, and the checker compares"
    assert reasons_of(await desk.hear(an_exit(at=desk.now))) == ["nothing is open"]
    begun = a_change(order.account_id, order.strategy_id, order.instrument, LOT, order.order_id, 0)
    assert await desk.hear(begun) == [], "a day begins"
    assert orders_of(await desk.hear(a_signal(at=desk.now))), "it enters again"


async def test_a_share_that_was_left_as_delisted_is_closed_once_it_is_listed_again(desk: Desk) -> None:
    """The algo had forgotten it: the exit found nothing open, and the position stayed."""
    await desk.keep(an_algo([SHARE_LEG]))
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    share = listed_share()
    await streams.list_contracts([share.model_copy(update={"tradable": False, "delisted": True})], desk.memory)
    assert await desk.hear(completed(square_off).model_copy(update={"expired": (order.instrument,)})) == []
    assert reasons_of(await desk.hear(an_exit())) == ["nothing is open"]
    await streams.list_contracts([share], desk.memory)
    assert reasons_of(await desk.hear(a_signal())) == ["in position already; the algo ignores repeated entries"]
    [again] = square_offs_of(await desk.hear(an_exit()))
    assert await desk.hear(*desk.flattened(again)) == []
    assert await what_is_held(desk) == {}


async def what_is_held(desk: Desk) -> dict[str, int]:
    states = await desk.connection.fetch("SELECT state FROM holdings")
    books: dict[str, int] = {}
    for row in states:
        books |= orjson.loads(row["state"])["books"]
    return books


async def test_an_algo_whose_legs_were_settled_at_expiry_is_flat_and_exits_nothing(desk: Desk) -> None:
    """Trading books the settlement by no order: the position's change is all that tells of it."""
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    assert order.strategy_id is not None
    await desk.hear(desk.filled(order))
    settled = a_change(order.account_id, order.strategy_id, order.instrument, 0, order.order_id, 0)
    assert await desk.hear(settled) == []
    assert square_offs_of(await desk.hear(an_exit())) == [], "there is nothing to close"
    assert orders_of(await desk.hear(a_signal())), "it enters again"


async def test_an_entry_is_not_given_up_for_what_was_closed_before_it(desk: Desk) -> None:
    """Trading's words of before stood behind an hour of others' news when strategy was back, or were parked: the entry
    counted as lost, and was squared off when it filled.
    """
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    flat, complete = desk.flattened(square_off)
    told = envelope_of(complete, now=desk.now)
    await desk.hear(flat)
    await desk.pass_time(300)
    [entry] = orders_of(await desk.hear(a_signal(at=desk.now)))
    await desk.pass_time(40)
    assert await deliver(app, desk.connection, complete, memory=desk.memory, now=desk.now, cause=told) == []
    assert square_offs_of(await desk.hear(desk.filled(entry))) == []
    assert reasons_of(await desk.hear(a_signal(at=desk.now))) == [
        "in position already; the algo ignores repeated entries"
    ]
