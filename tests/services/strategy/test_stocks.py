"""An algo that trades the stocks that alerts name, a scan of ChartInk or the chart of TradingView: each by itself."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from libs.common.contracts.algos import Algo, AlgoDeleted, AlgoDeleteRequested, AlgoLeg, AlgoSaved, SignalActedOn
from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import EntryLegs, RepeatRule, Side, SignalType, SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId, SquareOffId, StrategyId
from libs.common.contracts.market import PricesRequested
from libs.common.contracts.orders import SquareOffCompleted, SquareOffRequested
from libs.common.contracts.signals import SignalReceived
from libs.common.database import Connection
from libs.common.ids import new_id
from services.strategy import streams
from tests.services.strategy.desk import SELL, Desk, completed, orders_of, reasons_of, rejected, square_offs_of
from tests.services.strategy.scene import (
    FIRST,
    GROUP,
    NOW,
    SECOND,
    SHARE_LEG,
    USER,
    a_signal,
    an_account,
    an_algo,
    an_exit,
    knowing,
    listed_share,
    option_leg,
    save,
)

SBIN, INFY, M_AND_M, GONE = (InstrumentId(f"NSE:{symbol}") for symbol in ("SBIN", "INFY", "M&M", "GONE"))
LOTS = {SBIN: 10, INFY: 5, M_AND_M: 3, GONE: 1}


def a_leg(stock: InstrumentId, **changes: object) -> AlgoLeg:
    return SHARE_LEG.model_copy(update={"instrument": stock, "lots": LOTS[stock], **changes})


def a_trader_of_stocks(
    on_repeat: RepeatRule = RepeatRule.IGNORE, accounts: Sequence[AccountId] = (FIRST,), *, active: bool = True
) -> Algo:
    legs = [a_leg(stock) for stock in LOTS]
    return an_algo(legs, accounts, entry_legs=EntryLegs.NAMED, on_repeat=on_repeat, active=active)


def a_scan(*stocks: str, action: Side = Side.BUY, at: datetime = NOW) -> SignalReceived:
    """ChartInk names no symbol of its own."""
    return a_signal(SignalType.ENTRY, action, at, symbol=None, stocks=stocks)


def an_exit_of(*stocks: str, at: datetime = NOW) -> SignalReceived:
    return an_exit(SELL, at, symbol=None, stocks=stocks)


@pytest.fixture
async def desk(connection: Connection) -> Desk:
    memory = await knowing()
    await streams.list_contracts([listed_share("INFY"), listed_share("M&M")], memory)
    desk = Desk(connection, memory)
    await desk.hear(an_account(FIRST), an_account(SECOND))
    return desk


async def enter(desk: Desk, *stocks: str) -> None:
    orders = orders_of(await desk.hear(a_scan(*stocks)))
    assert orders
    await desk.hear(*(desk.filled(order) for order in orders))


async def test_a_scan_enters_the_stocks_that_it_names_and_says_what_of_the_rest(desk: Desk) -> None:
    algo = a_trader_of_stocks()
    await desk.keep(algo)
    signal = a_scan("INFY", "GONE", "SBIN", "EDUCOMP")
    said = await desk.hear(signal)
    orders = orders_of(said)
    assert [(order.instrument, order.quantity, order.side) for order in orders] == [
        (SBIN, 10, Side.BUY),
        (INFY, 5, Side.BUY),
    ]
    assert {order.strategy_id for order in orders} == {StrategyId(algo.algo_id)}
    assert len({order.order_id for order in orders}) == 2
    [acted] = [each for each in said if isinstance(each, SignalActedOn)]
    assert acted.order_ids == tuple(str(order.order_id) for order in orders)
    assert reasons_of(said) == [
        "the algo has no leg of EDUCOMP",
        "NSE:GONE: NSE:GONE is not a listed, tradable share",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"symbol": "SBIN", "exchange": "NSE"}, SBIN),
        ({"symbol": "NSE:SBIN"}, SBIN),
        ({"symbol": "sbin"}, SBIN),
        ({"symbol": "NSE:M_M"}, M_AND_M),
        ({"symbol": "M&M", "exchange": "NSE_DL"}, M_AND_M),
        ({"symbol": "BSE:SBIN"}, None),
        ({"symbol": "SBIN", "exchange": "BSE"}, None),
        ({"symbol": "NIFTY1!", "exchange": "NSE"}, None),
        ({"symbol": None}, None),
    ],
)
async def test_a_chart_names_its_stock_as_tradingview_writes_it(
    desk: Desk, written: dict[str, str | None], meant: InstrumentId | None
) -> None:
    await desk.keep(a_trader_of_stocks())
    said = await desk.hear(a_signal().model_copy(update=written))
    assert [order.instrument for order in orders_of(said)] == ([meant] if meant else [])
    assert bool(reasons_of(said)) is (meant is None)


async def test_a_scan_that_fires_again_with_one_more_stock_enters_that_one(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    await enter(desk, "SBIN")
    said = await desk.hear(a_scan("SBIN", "INFY"))
    assert [order.instrument for order in orders_of(said)] == [INFY]
    assert reasons_of(said) == ["NSE:SBIN: in position already; the algo ignores repeated entries"]


async def test_what_is_said_of_many_stocks_is_said_once(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks(active=False, accounts=(FIRST, SECOND)))
    said = await desk.hear(a_scan("SBIN", "INFY", *(f"X{n}" for n in range(25))))
    unknown = ", ".join(f"X{n}" for n in range(20))
    assert reasons_of(said) == [
        f"the algo has no leg of {unknown} and 5 more",
        "NSE:SBIN, NSE:INFY: the algo is inactive",
    ]


async def test_adding_is_judged_stock_by_stock(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks(RepeatRule.ADD))
    await enter(desk, "SBIN")
    [closing] = square_offs_of(await desk.hear(an_exit_of("SBIN")))
    assert [order.instrument for order in orders_of(await desk.hear(a_scan("SBIN", "INFY")))] == [INFY]
    assert [order.instrument for order in orders_of(await desk.hear(*desk.flattened(closing)))] == [SBIN]


async def test_an_exit_closes_the_stocks_that_it_names_in_every_account_and_no_other(desk: Desk) -> None:
    algo = a_trader_of_stocks(accounts=(FIRST, SECOND))
    await desk.keep(algo)
    await enter(desk, "SBIN", "INFY")
    said = await desk.hear(an_exit_of("INFY", "M&M"))
    square_offs = square_offs_of(said)
    assert [(each.account_id, each.strategy_id, each.instrument, each.product) for each in square_offs] == [
        (account_id, StrategyId(algo.algo_id), INFY, None) for account_id in (FIRST, SECOND)
    ]
    assert len({each.square_off_id for each in square_offs}) == 2
    assert reasons_of(said) == ["NSE:M&M: nothing is open"]
    await desk.hear(*(message for each in square_offs for message in desk.flattened(each)))
    again = await desk.hear(a_scan("SBIN", "INFY"))
    assert {order.instrument for order in orders_of(again)} == {INFY}


async def test_an_exit_that_names_no_stock_closes_all_that_the_algo_opened(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    assert reasons_of(await desk.hear(an_exit_of())) == ["nothing is open"]
    await enter(desk, "SBIN", "INFY")
    closed = square_offs_of(await desk.hear(an_exit_of()))
    assert [each.instrument for each in closed] == [SBIN, INFY]
    assert len({each.square_off_id for each in closed}) == 2


async def test_an_exit_closes_a_stock_whose_leg_was_taken_away(desk: Desk) -> None:
    algo = a_trader_of_stocks(RepeatRule.REVERSE)
    await desk.keep(algo)
    await enter(desk, "SBIN", "INFY")
    await desk.hear(save(algo.model_copy(update={"legs": (a_leg(INFY),)}), version=1))
    said = await desk.hear(a_scan("SBIN"))
    assert (orders_of(said), reasons_of(said)) == ([], ["NSE:SBIN: the algo has no leg of it any more"])
    assert [each.instrument for each in square_offs_of(await desk.hear(an_exit_of("SBIN")))] == [SBIN]


async def test_an_entry_that_slips_through_behind_its_exit_is_closed_and_no_other_stock(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    sbin, infy = orders_of(await desk.hear(a_scan("SBIN", "INFY")))
    await desk.hear(desk.filled(infy))
    [square_off] = square_offs_of(await desk.hear(an_exit_of("SBIN")))
    [again] = square_offs_of(await desk.hear(completed(square_off), desk.filled(sbin)))
    assert (again.instrument, again.square_off_id != square_off.square_off_id) == (SBIN, True)


async def test_a_stock_that_is_refused_closes_none_of_the_others(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    sbin, infy = orders_of(await desk.hear(a_scan("SBIN", "INFY")))
    said = await desk.hear(desk.filled(infy), rejected(sbin))
    assert said == []
    assert [order.instrument for order in orders_of(await desk.hear(a_scan("SBIN", "INFY")))] == [SBIN]


async def test_each_stock_is_reversed_by_itself_once_it_is_flat(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks(RepeatRule.REVERSE))
    await enter(desk, "SBIN", "INFY")
    said = await desk.hear(a_scan("SBIN", "M&M", action=SELL))
    [square_off] = square_offs_of(said)
    assert square_off.instrument == SBIN
    assert [(order.instrument, order.side) for order in orders_of(said)] == [(M_AND_M, SELL)]
    [order] = orders_of(await desk.hear(*desk.flattened(square_off)))
    assert (order.instrument, order.side, order.quantity) == (SBIN, SELL, 10)
    await desk.hear(desk.filled(order))
    assert reasons_of(await desk.hear(a_scan("SBIN", "INFY"))) == [
        "NSE:INFY: in position already in the direction of buy"
    ]


async def test_a_reversal_whose_time_is_over_says_of_which_stock(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks(RepeatRule.REVERSE))
    await enter(desk, "SBIN", "INFY")
    await desk.hear(a_scan("SBIN", action=SELL))
    await desk.pass_time(61)
    assert reasons_of(await desk.tick()) == ["NSE:SBIN: the old position was not closed in time to enter"]


async def test_who_closes_the_whole_strategy_closes_each_stock(desk: Desk) -> None:
    """By hand or by a limit: entries that were lost behind it keep no stock occupied."""
    algo = a_trader_of_stocks()
    await desk.keep(algo)
    await desk.hear(a_scan("SBIN", "INFY"))
    await desk.pass_time(31)
    request = SquareOffRequested(
        square_off_id=SquareOffId(new_id()),
        account_id=FIRST,
        user_id=USER,
        strategy_id=StrategyId(algo.algo_id),
        reason=SquareOffReason.CLOSE,
    )
    await desk.hear(SquareOffCompleted.model_validate(request.model_dump()))
    said = await desk.hear(a_scan("SBIN", "INFY", at=desk.now))
    assert [order.instrument for order in orders_of(said)] == [SBIN, INFY]


async def test_the_end_of_one_stocks_exit_says_nothing_of_another_that_is_slow_to_fill(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    sbin, _ = orders_of(await desk.hear(a_scan("SBIN", "INFY")))
    await desk.hear(desk.filled(sbin))
    await desk.pass_time(31)
    [square_off] = square_offs_of(await desk.hear(an_exit_of("SBIN", at=desk.now)))
    await desk.hear(*desk.flattened(square_off))
    said = await desk.hear(a_scan("INFY", at=desk.now))
    assert reasons_of(said) == ["NSE:INFY: in position already; the algo ignores repeated entries"]


async def test_an_entry_behind_a_later_exit_enters_the_stocks_that_the_exit_did_not_name(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    await desk.hear(an_exit_of("SBIN", at=NOW))
    said = await desk.hear(a_scan("SBIN", "INFY", at=NOW - timedelta(seconds=1)))
    assert [order.instrument for order in orders_of(said)] == [INFY]
    assert reasons_of(said) == ["NSE:SBIN: a later signal, which closes, was faster"]
    await desk.hear(an_exit_of(at=NOW + timedelta(seconds=1)))
    said = await desk.hear(a_scan("M&M", at=NOW))
    assert reasons_of(said) == ["NSE:M&M: a later signal, which closes, was faster"]


async def test_an_entry_that_names_nothing_keeps_no_other_out(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks(RepeatRule.REVERSE))
    said = await desk.hear(a_scan(at=NOW))
    assert reasons_of(said) == ["the alert names no stock, and the algo trades those that an alert names"]
    assert orders_of(await desk.hear(a_scan("SBIN", at=NOW - timedelta(seconds=1))))


async def test_turning_one_leg_round_turns_what_is_held_of_that_stock(desk: Desk) -> None:
    algo = a_trader_of_stocks(RepeatRule.REVERSE)
    await desk.keep(algo)
    await enter(desk, "SBIN", "INFY")
    legs = tuple(a_leg(stock, side=SELL if stock == SBIN else Side.BUY) for stock in LOTS)
    await desk.hear(save(algo.model_copy(update={"legs": legs}), version=1))
    said = await desk.hear(a_scan("SBIN", "INFY"))
    assert [each.instrument for each in square_offs_of(said)] == [SBIN]


async def test_an_algo_of_which_one_stock_is_open_is_not_deleted(desk: Desk) -> None:
    algo = a_trader_of_stocks()
    await desk.keep(algo)
    await enter(desk, "SBIN", "INFY")
    [square_off] = square_offs_of(await desk.hear(an_exit_of("SBIN")))
    await desk.hear(*desk.flattened(square_off))
    wish = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    [refused] = await desk.hear(wish)
    assert isinstance(refused, RequestRefused)
    [square_off] = square_offs_of(await desk.hear(an_exit_of("INFY")))
    await desk.hear(*desk.flattened(square_off))
    [deleted] = await desk.hear(wish)
    assert isinstance(deleted, AlgoDeleted)


async def test_prices_of_its_stocks_are_asked_for_ahead(desk: Desk) -> None:
    await desk.keep(a_trader_of_stocks())
    [asked] = await desk.asks_for_prices()
    assert isinstance(asked, PricesRequested)
    assert set(asked.instruments) == {SBIN, INFY, M_AND_M}


async def test_an_algo_keeps_to_what_its_entries_trade(desk: Desk) -> None:
    """What it holds is kept by stock, or all together."""
    algo = an_algo([a_leg(SBIN)])
    await desk.keep(algo)
    [refused] = await desk.hear(save(algo.model_copy(update={"entry_legs": EntryLegs.NAMED}), version=1))
    assert isinstance(refused, RequestRefused)
    assert refused.code == "invalid"
    assert "make another algo" in refused.reason


async def test_other_algos_trade_their_legs_whatever_an_alert_names(desk: Desk) -> None:
    await desk.keep(an_algo([a_leg(SBIN)]))
    assert [order.instrument for order in orders_of(await desk.hear(a_scan("INFY", "EDUCOMP")))] == [SBIN]


@pytest.mark.parametrize(
    ("legs", "problem"),
    [
        ([a_leg(SBIN), option_leg()], "leg 2: an alert names shares"),
        ([a_leg(SBIN), a_leg(INFY, instrument="BSE:SBIN")], "legs 1 and 2 are of one stock"),
        ([a_leg(SBIN, instrument=f"NSE:S{n}") for n in range(101)], "1 to 100 legs, not 101"),
    ],
)
async def test_what_no_alert_could_name_is_refused(desk: Desk, legs: list[AlgoLeg], problem: str) -> None:
    [refused] = await desk.hear(save(an_algo(legs, entry_legs=EntryLegs.NAMED)))
    assert isinstance(refused, RequestRefused)
    assert problem in refused.reason


async def test_it_may_have_a_hundred_stocks_of_which_a_signal_asks_for_5000_orders_at_most(desk: Desk) -> None:
    legs = [a_leg(SBIN, instrument=f"NSE:S{n}") for n in range(100)]
    algo = an_algo(legs, [AccountId(new_id()) for _ in range(50)], entry_legs=EntryLegs.NAMED)
    [saved] = await desk.hear(save(algo))
    assert isinstance(saved, AlgoSaved)
    [refused] = await desk.hear(save(an_algo(legs[:1], entry_legs=EntryLegs.NAMED)))
    assert isinstance(refused, RequestRefused)
    assert f"a signal of group {GROUP} would ask for 5001 orders" in refused.reason
