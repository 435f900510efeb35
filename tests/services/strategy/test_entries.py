"""What a signal to enter makes an algo ask for, also while it holds something already."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.algos import LinkedAccount, SignalActedOn, SignalSkipped
from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    Exchange,
    ExpiryRule,
    OrderPurpose,
    OrderType,
    Product,
    RepeatRule,
    Side,
    SignalType,
    StrikeRule,
)
from libs.common.contracts.ids import AccountId, InstrumentId, StrategyId, UserId
from libs.common.database import Connection
from libs.common.ids import new_id
from services.strategy import streams
from tests.services.strategy.desk import SELL, Desk, denied, orders_of, reasons_of, rejected, square_offs_of
from tests.services.strategy.scene import (
    FIRST,
    FUTURE_LEG,
    LOT,
    NOW,
    SECOND,
    SPREAD,
    USER,
    a_signal,
    an_account,
    an_algo,
    an_exit,
    knowing,
    listed_future,
    option_leg,
    save,
)


async def test_freqtrade_5502_an_entry_asks_for_one_order_per_leg_and_account(desk: Desk) -> None:
    algo = an_algo(SPREAD, (FIRST, SECOND))
    await desk.keep(algo)
    signal = a_signal()
    said = await desk.hear(signal)
    orders = orders_of(said)
    assert [(each.account_id, each.side, each.instrument) for each in orders] == [
        (account, side, instrument)
        for account in (FIRST, SECOND)
        for side, instrument in (
            (Side.BUY, "NFO:NIFTY18AUG2624100CE"),
            (Side.SELL, "NFO:NIFTY18AUG2624000CE"),
        )
    ]
    for order in orders:
        assert (order.strategy_id, order.user_id, order.quantity) == (StrategyId(algo.algo_id), USER, LOT)
        assert (order.order_type, order.purpose, order.product) == (OrderType.MARKET, OrderPurpose.ENTRY, Product.MIS)
        assert (order.requested_at, order.expires_at) == (NOW, NOW + timedelta(seconds=10))
    assert said[4:] == [
        SignalActedOn(
            algo_id=algo.algo_id,
            user_id=USER,
            signal_id=signal.signal_id,
            signal_type=SignalType.ENTRY,
            order_ids=tuple(str(order.order_id) for order in orders),
        )
    ]


async def test_openalgo_932_the_same_signal_handled_again_asks_for_the_same_orders(
    desk: Desk, connection: Connection
) -> None:
    algo, signal = an_algo(SPREAD), a_signal()
    await desk.keep(algo)
    savepoint = connection.transaction()
    await savepoint.start()
    once = await desk.hear(signal)
    await savepoint.rollback()
    assert await desk.hear(signal) == once
    assert len({order.order_id for order in orders_of(once)}) == 2


async def test_an_algo_saved_in_the_same_batch_hears_the_signal(desk: Desk) -> None:
    assert len(orders_of(await desk.hear(save(an_algo()), a_signal()))) == 1


async def test_two_signals_of_one_batch_do_not_enter_twice(desk: Desk) -> None:
    await desk.keep(an_algo())
    said = await desk.hear(a_signal(), a_signal())
    assert len(orders_of(said)) == 1
    assert reasons_of(said) == ["in position already; the algo ignores repeated entries"]


async def test_the_multiplier_and_not_the_alert_decides_the_quantity(desk: Desk) -> None:
    accounts = (
        LinkedAccount(account_id=FIRST, multiplier=Decimal("2.5")),
        LinkedAccount(account_id=SECOND, multiplier=Decimal("0.5")),
    )
    await desk.keep(an_algo().model_copy(update={"accounts": accounts}))
    said = await desk.hear(a_signal(quantity=1))
    assert [(order.account_id, order.quantity) for order in orders_of(said)] == [(FIRST, 2 * LOT)]
    assert reasons_of(said) == ["leg 1: 1 lots times 0.5 is less than one lot"]


async def test_a_signal_may_be_for_one_account(desk: Desk) -> None:
    await desk.keep(an_algo(accounts=(FIRST, SECOND)))
    said = await desk.hear(a_signal(account_id=SECOND))
    assert [order.account_id for order in orders_of(said)] == [SECOND]
    stranger = AccountId(new_id())
    assert reasons_of(await desk.hear(a_signal(account_id=stranger))) == [
        f"account {stranger} is not linked to the algo"
    ]


async def test_never_half_a_spread(desk: Desk) -> None:
    await desk.keep(an_algo([option_leg(), option_leg(SELL, StrikeRule.OTM, 11)]))
    said = await desk.hear(a_signal())
    assert orders_of(said) == []
    assert reasons_of(said) == ["leg 2: NIFTY 2026-08-18 lists no strike OTM +11 CE from 24012.0"]


async def test_no_entry_on_an_old_price(desk: Desk) -> None:
    await desk.keep(an_algo())
    desk.now += timedelta(seconds=16)
    assert reasons_of(await desk.hear(a_signal(at=desk.now))) == ["leg 1: the spot price of NIFTY is 16 s old"]


async def test_a_signal_that_waited_out_an_outage_does_not_enter(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.pass_time(61)
    assert reasons_of(await desk.hear(a_signal(at=NOW))) == ["the signal is 61 s old: too late to enter"]


async def test_an_inactive_algo_does_not_enter_but_exits(desk: Desk) -> None:
    algo = an_algo()
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order), save(algo.model_copy(update={"active": False}), 1))
    assert reasons_of(await desk.hear(a_signal())) == ["the algo is inactive"]
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_another_users_signal_moves_nothing(desk: Desk) -> None:
    await desk.keep(an_algo())
    assert await desk.hear(a_signal(user_id=UserId(new_id()))) == []


@pytest.mark.parametrize("signal", [a_signal(SignalType.ENTRY, SELL), an_exit(SELL)])
async def test_a_signal_that_no_mapping_matches_is_skipped_and_says_so(desk: Desk, signal: Message) -> None:
    algo = an_algo()
    mapping = algo.mappings[0].model_copy(update={"entry_action": Side.BUY, "exit_action": Side.BUY})
    await desk.keep(algo.model_copy(update={"mappings": (mapping,)}))
    [reason] = reasons_of(await desk.hear(signal))
    assert reason.startswith("no mapping of the algo matches")


async def test_only_known_active_accounts_of_the_user_trade(connection: Connection) -> None:
    unknown, theirs = AccountId(new_id()), AccountId(new_id())
    algo = an_algo(accounts=(FIRST, SECOND, unknown, theirs))
    desk = Desk(connection, await knowing())
    await desk.hear(an_account(FIRST), an_account(SECOND, active=False))
    await desk.keep(algo)
    await desk.hear(an_account(theirs, user_id=UserId(new_id())))
    said = await desk.hear(a_signal())
    assert [order.account_id for order in orders_of(said)] == [FIRST]
    assert reasons_of(said) == [
        f"account paper {SECOND} is inactive",
        f"account {unknown} is unknown",
        f"account {theirs} is unknown",
    ]


async def test_several_algos_answer_one_signal_each_for_itself(desk: Desk) -> None:
    sound, broken = an_algo(), an_algo([option_leg(strike=StrikeRule.OTM, offset=50)])
    await desk.keep(sound, broken)
    said = await desk.hear(a_signal())
    assert [order.strategy_id for order in orders_of(said)] == [sound.algo_id]
    assert [each.algo_id for each in said if isinstance(each, SignalSkipped)] == [broken.algo_id]


async def test_add_enters_again(desk: Desk) -> None:
    await desk.keep(an_algo(on_repeat=RepeatRule.ADD))
    [first] = orders_of(await desk.hear(a_signal()))
    [second] = orders_of(await desk.hear(desk.filled(first), a_signal()))
    assert second.order_id != first.order_id


async def test_after_a_denied_entry_the_next_signal_enters(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    assert len(orders_of(await desk.hear(denied(order), a_signal()))) == 1


async def test_a_partly_filled_and_rejected_entry_leaves_what_was_filled(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order, 5), rejected(order))
    assert orders_of(await desk.hear(a_signal())) == []
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_flat_again_it_enters_again(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    assert len(orders_of(await desk.hear(*desk.flattened(square_off), a_signal()))) == 1


@pytest.mark.parametrize("rule", RepeatRule)
async def test_an_entry_right_behind_an_exit_enters_when_flat(desk: Desk, rule: RepeatRule) -> None:
    """At the end of a bar a chart sends both within milliseconds. Seen: the entry was skipped, since the exit's orders
    were still at the broker, and the algo was out of the market until the next one.
    """
    await desk.keep(an_algo(on_repeat=rule))
    [order] = orders_of(await desk.hear(a_signal()))
    entry = a_signal()
    said = await desk.hear(desk.filled(order), an_exit(), entry)
    [square_off] = square_offs_of(said)
    assert (orders_of(said), reasons_of(said)) == ([], []), "what is entered now would be closed with the rest"
    said = await desk.hear(*desk.flattened(square_off))
    [order] = orders_of(said)
    [acted] = [each for each in said if isinstance(each, SignalActedOn)]
    assert (acted.signal_id, acted.order_ids) == (entry.signal_id, (str(order.order_id),))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    assert await desk.hear(*desk.flattened(square_off)) == []


@pytest.mark.parametrize("rule", [RepeatRule.IGNORE, RepeatRule.ADD])
async def test_of_entries_behind_an_exit_the_first_waits(desk: Desk, rule: RepeatRule) -> None:
    await desk.keep(an_algo(on_repeat=rule))
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit(), a_signal()))
    assert reasons_of(await desk.hear(a_signal())) == [
        "the position is being closed, and an earlier entry waits for that"
    ]
    assert "an exit came before it could enter" in reasons_of(await desk.hear(an_exit()))
    assert await desk.hear(*desk.flattened(square_off)) == []


async def test_an_entry_behind_an_exit_that_takes_long_is_given_up(desk: Desk) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit(), a_signal()))
    await desk.pass_time(61)
    assert reasons_of(await desk.tick()) == ["the old position was not closed in time to enter"]
    assert await desk.hear(*desk.flattened(square_off)) == []


async def test_nothing_is_added_to_what_is_being_closed_however_long_that_takes(desk: Desk) -> None:
    """An exit after the close waits for the opening. Seen: the entry went behind it, to be closed with the rest."""
    await desk.keep(an_algo(on_repeat=RepeatRule.ADD))
    [order] = orders_of(await desk.hear(a_signal()))
    [square_off] = square_offs_of(await desk.hear(desk.filled(order), an_exit()))
    await desk.pass_time(61)
    assert await desk.hear(a_signal(at=desk.now)) == []
    assert len(orders_of(await desk.hear(*desk.flattened(square_off)))) == 1


@pytest.mark.parametrize("rule", [RepeatRule.IGNORE, RepeatRule.REVERSE])
async def test_what_expired_and_nobody_settles_keeps_no_entry_out(desk: Desk, rule: RepeatRule) -> None:
    """At a broker an option that expired stays in the algo's books. Seen: from then on it was in position for ever."""
    await desk.keep(an_algo(on_repeat=rule))
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order))
    await desk.pass_time(36 * 3600)
    [following] = orders_of(await desk.hear(a_signal(at=desk.now)))
    assert (order.instrument, following.instrument) == ("NFO:NIFTY18AUG2624000CE", "NFO:NIFTY25AUG2624000CE")
    [square_off] = square_offs_of(await desk.hear(desk.filled(following), an_exit(at=desk.now)))
    *flat, done = desk.flattened(square_off)
    left = done.model_copy(update={"expired": (order.instrument,)})
    await desk.hear(*(each for each in flat if getattr(each, "instrument", None) != order.instrument), left)
    assert len(orders_of(await desk.hear(a_signal(at=desk.now)))) == 1


async def test_a_leg_that_has_not_expired_keeps_the_algo_in_position(desk: Desk) -> None:
    await desk.keep(an_algo([option_leg(Side.SELL), option_leg(expiry=ExpiryRule.NEXT_WEEK)]))
    orders = orders_of(await desk.hear(a_signal()))
    await desk.hear(*map(desk.filled, orders))
    await desk.pass_time(36 * 3600)
    assert reasons_of(await desk.hear(a_signal(at=desk.now))) == [
        "in position already; the algo ignores repeated entries"
    ]


async def test_an_expired_leg_that_is_being_closed_is_waited_for(desk: Desk) -> None:
    """The square-off that is at work would close the entry as well."""
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order), an_exit())
    await desk.pass_time(36 * 3600)
    assert await desk.hear(a_signal(at=desk.now)) == []


async def test_a_currency_contract_is_entered_until_half_past_noon_of_its_last_day(desk: Desk) -> None:
    """Seen: each entry of the afternoon was in the contract that had ended, and was rejected."""
    days = date(2026, 8, 27), date(2026, 9, 28)
    await streams.list_contracts([listed_future("USDINR", day, Exchange.CDS) for day in days], desk.memory)
    leg = FUTURE_LEG.model_copy(update={"underlying": "USDINR", "expiry": ExpiryRule.CURRENT_MONTH})
    await desk.keep(an_algo([leg], on_repeat=RepeatRule.ADD))
    entered: list[InstrumentId] = []
    for at in (datetime(2026, 8, 27, 6, 59, 59, tzinfo=UTC), datetime(2026, 8, 27, 7, tzinfo=UTC)):
        desk.now = at
        entered += [order.instrument for order in orders_of(await desk.hear(a_signal(at=at)))]
    assert entered == ["CDS:USDINR27AUG26FUT", "CDS:USDINR28SEP26FUT"]
