"""Signals and events in, orders and square-offs out, on a real store."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.accounts import AccountDeleted
from libs.common.contracts.algos import (
    Algo,
    AlgoDeleted,
    AlgoDeleteRequested,
    AlgoSaved,
    LegRefused,
    LinkedAccount,
    SignalActedOn,
    SignalSkipped,
    SquareOffRefused,
)
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.enums import (
    DenialRule,
    LegRefusedRule,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    RepeatRule,
    Side,
    SignalType,
    SquareOffReason,
    StrikeRule,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SquareOffId, StrategyId, UserId
from libs.common.contracts.orders import (
    OrderDenied,
    OrderRejected,
    OrderRequested,
    SquareOffCompleted,
    SquareOffRequested,
)
from libs.common.contracts.portfolio import PositionChanged, PositionState
from libs.common.ids import new_id
from libs.common.messaging.work import Work
from libs.common.service import Connection
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from services.strategy import handlers, streams
from services.strategy.app import app
from services.strategy.memory import StrategyMemory
from services.strategy.store import StrategyStore
from tests.services.strategy.scene import (
    FIRST,
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
    option_leg,
    quoted,
)
from tests.services.strategy.test_domain import FUTURE_LEG, save

SELL = Side.SELL


class Desk:
    """Delivers to strategy, and plays trading: what becomes of its orders."""

    def __init__(self, connection: Connection, memory: StrategyMemory) -> None:
        self.connection = connection
        self.memory = memory
        self.now = NOW
        self.books: dict[tuple[AccountId, StrategyId, InstrumentId], int] = {}

    async def hear(self, *messages: Message) -> list[Message]:
        return await deliver(app, self.connection, *messages, memory=self.memory, now=self.now)

    async def keep(self, *algos: Algo) -> None:
        said = await self.hear(*(save(algo) for algo in algos))
        assert all(isinstance(each, AlgoSaved) for each in said), said

    async def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        await streams.note_prices([quoted(24_012.0, self.now)], self.memory)

    def filled(self, order: OrderRequested, quantity: int | None = None) -> PositionChanged:
        assert order.strategy_id is not None
        key = (order.account_id, order.strategy_id, order.instrument)
        moved = quantity or order.quantity
        self.books[key] = self.books.get(key, 0) + order.side.sign * moved
        return a_change(*key, self.books[key], order.order_id, moved)

    def flattened(self, request: SquareOffRequested) -> list[Message]:
        """What trading says of a square-off: the books go to 0, then it is complete."""
        said: list[Message] = []
        for key, quantity in list(self.books.items()):
            if key[:2] == (request.account_id, request.strategy_id) and quantity:
                self.books[key] = 0
                said.append(a_change(*key, 0, OrderId(new_id()), abs(quantity)))
        return [*said, completed(request)]

    async def tick(self) -> Sequence[Message]:
        work = Work(app, self.memory, self.connection, self.now)
        said = await handlers.give_up_reversals(work.context(envelope_of(a_signal())))
        await work.store.write()
        return said


def a_change(
    account_id: AccountId,
    strategy_id: StrategyId | None,
    instrument: InstrumentId,
    quantity: int,
    order_id: OrderId,
    filled: int,
) -> PositionChanged:
    state = PositionState(
        quantity=quantity,
        average_price=Decimal(100),
        realised_pnl=Decimal(0),
        bought_quantity=0,
        sold_quantity=0,
        bought_value=Decimal(0),
        sold_value=Decimal(0),
    )
    return PositionChanged(
        account_id=account_id,
        user_id=USER,
        instrument=instrument,
        product=Product.MIS,
        net=state,
        strategy_id=strategy_id,
        book=state,
        margin=Decimal(0),
        version=1,
        order_id=order_id,
        fill_quantity=filled,
    )


def completed(request: SquareOffRequested) -> SquareOffCompleted:
    return SquareOffCompleted.model_validate(request.model_dump())


def denied(order: OrderRequested) -> OrderDenied:
    return OrderDenied.model_validate({**order.model_dump(), "rule": DenialRule.MARGIN, "reason": "no margin"})


def rejected(order: OrderRequested) -> OrderRejected:
    return OrderRejected(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=USER,
        strategy_id=order.strategy_id,
        instrument=order.instrument,
        status=OrderStatus.REJECTED,
        version=2,
        reason="circuit",
    )


def orders_of(said: Sequence[Message]) -> list[OrderRequested]:
    return [each for each in said if isinstance(each, OrderRequested)]


def square_offs_of(said: Sequence[Message]) -> list[SquareOffRequested]:
    return [each for each in said if isinstance(each, SquareOffRequested)]


def reasons_of(said: Sequence[Message]) -> list[str]:
    return [each.reason for each in said if isinstance(each, SignalSkipped)]


@pytest.fixture
async def desk(connection: Connection) -> Desk:
    desk = Desk(connection, await knowing())
    await desk.hear(an_account(FIRST), an_account(SECOND))
    return desk


# -- algos


async def test_an_algo_is_created_changed_and_deleted(desk: Desk) -> None:
    algo = an_algo()
    changed = algo.model_copy(update={"name": "RSI"})
    assert await desk.hear(save(algo)) == [AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=algo, version=1)]
    assert await desk.hear(save(changed, 1)) == [AlgoSaved(algo_id=algo.algo_id, user_id=USER, algo=changed, version=2)]
    [refused] = await desk.hear(save(changed, 1))
    assert isinstance(refused, RequestRefused)
    assert (refused.entity_id, refused.request, refused.code) == (str(algo.algo_id), "AlgoSaveRequested", "conflict")
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    assert await desk.hear(delete) == [AlgoDeleted(algo_id=algo.algo_id, user_id=USER)]
    assert await desk.hear(a_signal()) == []


async def test_an_algo_in_position_is_not_deleted(desk: Desk) -> None:
    algo = an_algo()
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal()))
    delete = AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER)
    [refused] = await desk.hear(delete)
    assert isinstance(refused, RequestRefused)
    assert refused.code == "conflict"
    [deleted] = await desk.hear(denied(order), delete)
    assert isinstance(deleted, AlgoDeleted)


async def test_an_account_that_was_deleted_trades_no_more(desk: Desk) -> None:
    await desk.keep(an_algo())
    await desk.hear(AccountDeleted(account_id=FIRST, user_id=USER))
    assert reasons_of(await desk.hear(a_signal())) == [f"account {FIRST} is unknown"]


async def test_an_account_saved_in_the_same_batch_is_known(desk: Desk) -> None:
    stranger = an_account(SECOND, user_id=UserId(new_id()))
    [refused] = await desk.hear(stranger, save(an_algo(accounts=(SECOND,))))
    assert isinstance(refused, RequestRefused)
    assert refused.reason == f"there is no account {SECOND}"


async def test_an_algo_deleted_in_the_batch_that_closed_it_leaves_nothing(desk: Desk, connection: Connection) -> None:
    algo = an_algo()
    await desk.keep(algo)
    [order] = orders_of(await desk.hear(a_signal()))
    await desk.hear(desk.filled(order))
    [square_off] = square_offs_of(await desk.hear(an_exit()))
    *changes, _ = desk.flattened(square_off)
    said = await desk.hear(*changes, AlgoDeleteRequested(algo_id=algo.algo_id, user_id=USER))
    assert said == [AlgoDeleted(algo_id=algo.algo_id, user_id=USER)]
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 0


# -- entries


async def test_an_entry_asks_for_one_order_per_leg_and_account(desk: Desk) -> None:
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


# -- repeated entries


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
    assert reasons_of(await desk.hear(a_signal())) == ["the position is being closed"]
    assert len(orders_of(await desk.hear(*desk.flattened(square_off), a_signal()))) == 1


# -- a leg that is refused


def broken_legs_of(said: Sequence[Message]) -> list[LegRefused]:
    return [each for each in said if isinstance(each, LegRefused)]


@pytest.fixture
async def spread(desk: Desk) -> tuple[Desk, OrderRequested, OrderRequested]:
    """The bought and the sold leg of an entry that is on its way."""
    await desk.keep(an_algo(SPREAD))
    bought, sold = orders_of(await desk.hear(a_signal()))
    return desk, bought, sold


Spread = tuple[Desk, OrderRequested, OrderRequested]


@pytest.mark.parametrize("ended", [denied, rejected])
async def test_a_leg_refused_after_the_other_filled_closes_the_other(
    spread: Spread, ended: Callable[[OrderRequested], Message]
) -> None:
    desk, bought, sold = spread
    said = await desk.hear(desk.filled(bought), ended(sold))
    [square_off] = square_offs_of(said)
    assert (square_off.account_id, square_off.strategy_id) == (FIRST, bought.strategy_id)
    assert (square_off.instrument, square_off.reason) == (None, SquareOffReason.LEG_REFUSED)
    [told] = broken_legs_of(said)
    assert (told.order_id, told.instrument, told.square_off_id) == (
        sold.order_id,
        sold.instrument,
        square_off.square_off_id,
    )
    assert told.reason in {"no margin", "circuit"}
    assert await desk.hear(*desk.flattened(square_off)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_a_leg_refused_before_the_other_fills_closes_what_fills_behind_the_square_off(spread: Spread) -> None:
    desk, bought, sold = spread
    [square_off] = square_offs_of(await desk.hear(denied(sold)))
    assert await desk.hear(completed(square_off)) == []
    [again] = square_offs_of(await desk.hear(desk.filled(bought)))
    assert again.square_off_id != square_off.square_off_id
    assert await desk.hear(*desk.flattened(again)) == []
    assert desk.books[FIRST, StrategyId(again.strategy_id or new_id()), bought.instrument] == 0


async def test_both_legs_refused_are_told_and_leave_nothing(spread: Spread) -> None:
    desk, bought, sold = spread
    said = await desk.hear(denied(bought), denied(sold))
    [square_off] = square_offs_of(said)
    assert len(broken_legs_of(said)) == 1
    assert await desk.hear(completed(square_off)) == []
    assert len(orders_of(await desk.hear(a_signal()))) == 2


async def test_an_algo_that_keeps_stays_in_position_and_says_which_leg_it_lacks(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD, on_leg_refused=LegRefusedRule.KEEP))
    bought, sold = orders_of(await desk.hear(a_signal()))
    said = await desk.hear(desk.filled(bought), denied(sold))
    assert square_offs_of(said) == []
    assert [(each.order_id, each.square_off_id) for each in broken_legs_of(said)] == [(sold.order_id, None)]
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1


async def test_a_leg_refused_while_the_algo_is_closing_asks_for_no_second_square_off(spread: Spread) -> None:
    desk, bought, sold = spread
    await desk.hear(desk.filled(bought))
    assert len(square_offs_of(await desk.hear(an_exit()))) == 1
    assert await desk.hear(denied(sold)) == []


async def test_a_leg_refused_in_one_account_leaves_the_other_account_alone(desk: Desk) -> None:
    await desk.keep(an_algo(SPREAD, (FIRST, SECOND)))
    orders = orders_of(await desk.hear(a_signal()))
    await desk.hear(*(desk.filled(order) for order in orders[:3]))
    assert [each.account_id for each in square_offs_of(await desk.hear(denied(orders[3])))] == [SECOND]


async def test_the_same_refusal_handled_again_asks_for_the_same_square_off(
    spread: Spread, connection: Connection
) -> None:
    desk, bought, sold = spread
    await desk.hear(desk.filled(bought))
    savepoint = connection.transaction()
    await savepoint.start()
    once = await desk.hear(denied(sold))
    await savepoint.rollback()
    assert await desk.hear(denied(sold)) == once


# -- a square-off that trading refuses


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


# -- exits


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


# -- reversals


@pytest.fixture
async def long(desk: Desk) -> Desk:
    """An algo that reverses holds a long future."""
    await desk.keep(an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE))
    [order] = orders_of(await desk.hear(a_signal()))
    assert order.side is Side.BUY
    await desk.hear(desk.filled(order))
    return desk


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
    assert reasons_of(said) == ["the old position was not closed in time to reverse"]


async def test_an_algo_switched_off_meanwhile_does_not_reverse(long: Desk) -> None:
    said = await long.hear(a_signal(action=SELL))
    [square_off] = square_offs_of(said)
    [acted] = [each for each in said if isinstance(each, SignalActedOn)]
    off = an_algo([FUTURE_LEG], on_repeat=RepeatRule.REVERSE, algo_id=acted.algo_id, active=False)
    await long.hear(save(off, 1))
    said = await long.hear(*long.flattened(square_off))
    assert orders_of(said) == []
    assert reasons_of(said) == ["the algo was changed before it could reverse"]


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


async def test_openalgo_1694_a_square_off_of_one_instrument_says_nothing_of_the_algo(long: Desk) -> None:
    [square_off] = square_offs_of(await long.hear(a_signal(action=SELL)))
    part = completed(square_off).model_copy(
        update={"instrument": InstrumentId("NSE:SBIN"), "square_off_id": SquareOffId(new_id())}
    )
    assert await long.hear(part) == []


async def test_an_empty_holding_leaves_no_row(desk: Desk, connection: Connection) -> None:
    await desk.keep(an_algo())
    [order] = orders_of(await desk.hear(a_signal()))
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 1
    await desk.hear(denied(order))
    assert await connection.fetchval("SELECT count(*) FROM holdings") == 0


async def test_a_batch_without_algos_asks_the_database_nothing() -> None:
    """Most of what trading says is about orders of people: it must cost strategy nothing."""

    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"asked for {name}")

    store = StrategyStore(Untouchable())  # type: ignore[arg-type]
    await store.prefetch([a_change(FIRST, None, InstrumentId("NSE:SBIN"), 5, OrderId(new_id()), 5)])
    await store.write()
