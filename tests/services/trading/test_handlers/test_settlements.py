"""An expired contract is settled once at what it was worth: position, books, margin and funds say so."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.base import Message
from libs.common.contracts.brokers import PositionClosedAtBroker
from libs.common.contracts.enums import Broker, Product, Side
from libs.common.contracts.ids import AccountId, InstrumentId, StrategyId
from libs.common.contracts.masters import ContractUnsettled
from libs.common.contracts.orders import SquareOffCompleted
from libs.common.contracts.portfolio import FundsChanged, PositionChanged, PositionSettled, PositionUnsettled
from libs.common.messaging.work import Work, origin
from libs.common.testing import NOON
from services.trading.app import app
from services.trading.domain.positions import Holding, trade
from services.trading.handlers.funds import begin_days
from services.trading.handlers.settlements import settle
from services.trading.handlers.square_offs import sweep
from services.trading.memory import TradingMemory
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    ALPHA,
    BETA,
    CALL,
    account_save,
    cleared,
    filled,
    order_id,
    square_off,
    worth,
)

ZERO = Decimal(0)
LATER = NOON + timedelta(hours=4)


async def settles(trading: Trading, now: datetime = LATER) -> Sequence[Message]:
    """One tick of the timer."""
    work = Work(app, TradingMemory(), trading.connection, now)
    said = await settle(work.context(origin(app, work.now)))
    await work.store.write()
    return said


async def holds(
    trading: Trading,
    quantity: int,
    price: str,
    *,
    strategy: StrategyId | None = None,
    product: Product = Product.NRML,
    account_id: AccountId = ACCOUNT,
    now: datetime = NOON,
) -> None:
    order = cleared(
        Side.BUY if quantity > 0 else Side.SELL,
        abs(quantity),
        instrument=CALL,
        strategy=strategy,
        product=product,
        account_id=account_id,
    )
    await trading.hears(order, filled(order, abs(quantity), price), now=now)


@pytest.mark.parametrize("product", [Product.MIS, Product.NRML])
@pytest.mark.parametrize(
    ("quantity", "price", "realised"),
    [(75, "150.25", "3768.75"), (-75, "150.25", "-3768.75"), (75, "0", "-7500"), (-75, "0", "7500")],
    ids=["long in the money", "short in the money", "long worthless", "short worthless"],
)
async def test_a_position_is_closed_in_cash_at_what_the_contract_was_worth(
    trading: Trading, quantity: int, price: str, realised: str, product: Product
) -> None:
    await holds(trading, quantity, "100", strategy=ALPHA, product=product)
    assert await trading.hears(worth(price), now=LATER) == []
    said = await settles(trading)
    assert names(said) == ["PositionSettled", "PositionChanged", "FundsChanged"]
    settled, moved, funds = only(PositionSettled, said), only(PositionChanged, said), only(FundsChanged, said)
    assert (settled.side.sign * settled.quantity, settled.price) == (-quantity, Decimal(price))
    assert (settled.strategy_id, settled.product, settled.settled_at) == (ALPHA, product, LATER)
    assert (moved.net.quantity, moved.book.quantity, moved.fill_quantity, moved.margin) == (0, 0, 0, ZERO)
    assert moved.net.realised_pnl == funds.realised_pnl == Decimal(realised)
    assert (funds.used_margin, funds.available) == (ZERO, 1_000_000 + Decimal(realised))


async def test_it_is_settled_once_however_often_it_is_told_and_whatever_is_told_later(trading: Trading) -> None:
    await holds(trading, 75, "100")
    told = worth("150")
    await trading.hears(told, told)
    assert only(PositionSettled, await settles(trading)).price == 150
    assert await settles(trading) == []
    await trading.hears(told)
    await trading.hears(worth("999"))
    assert await settles(trading) == []
    await holds(trading, 10, "100", now=LATER)
    assert only(PositionSettled, await settles(trading)).price == 150, "the first word stands"


async def test_a_kill_before_the_commit_settles_nothing_and_the_next_tick_all_under_the_same_id(
    trading: Trading,
) -> None:
    await holds(trading, 75, "100")
    await trading.hears(worth("150"))
    dead = trading.connection.transaction()
    await dead.start()
    before = await settles(trading)
    await dead.rollback()
    after = await settles(trading)
    assert only(PositionSettled, before) == only(PositionSettled, after)
    assert names(before) == names(after)


async def test_what_is_filled_after_the_settlement_is_settled_as_well(trading: Trading) -> None:
    """The venue's report was on its way while the stack was down."""
    await trading.hears(worth("150"))
    assert await settles(trading) == []
    await holds(trading, -75, "120")
    said = await settles(trading)
    assert only(PositionSettled, said).side is Side.BUY
    assert only(FundsChanged, said).realised_pnl == -30 * 75


async def test_a_position_of_days_ago_is_settled_into_the_day_on_which_it_is_booked(trading: Trading) -> None:
    """The stack was down at the close, and it was bought on another day still."""
    await holds(trading, 75, "100")
    await trading.hears(worth("150"), now=NOON + timedelta(days=3))
    said = await settles(trading, NOON + timedelta(days=3))
    funds = [m for m in said if isinstance(m, FundsChanged)][-1]
    assert (funds.opening_balance, funds.realised_pnl, funds.used_margin) == (Decimal(1_000_000), Decimal(3_750), ZERO)
    last = [m for m in said if isinstance(m, PositionChanged)][-1]
    assert (last.net.quantity, last.net.sold_quantity, last.net.bought_quantity) == (0, 75, 0)


async def test_each_strategys_book_is_settled_and_so_are_two_that_offset_each_other(trading: Trading) -> None:
    """The net position was flat for days: its books were not."""
    await holds(trading, 75, "100", strategy=ALPHA)
    await holds(trading, -75, "110", strategy=BETA)
    tomorrow = Work(app, TradingMemory(), trading.connection, NOON + timedelta(days=1))
    await begin_days(tomorrow.context(origin(app, tomorrow.now)))
    await tomorrow.store.write()
    await trading.hears(worth("150"), now=NOON + timedelta(days=2))
    said = await settles(trading, NOON + timedelta(days=2))
    closed = {m.strategy_id: m for m in said if isinstance(m, PositionSettled)}
    assert {strategy: m.side for strategy, m in closed.items()} == {ALPHA: Side.SELL, BETA: Side.BUY}
    moved = [m for m in said if isinstance(m, PositionChanged) and m.book.quantity == 0]
    assert {m.strategy_id: m.book.realised_pnl for m in moved} == {ALPHA: Decimal(3_750), BETA: Decimal(-3_000)}
    assert moved[-1].net.quantity == 0
    assert len({m.fill_id for m in closed.values()}) == 2
    assert await settles(trading, NOON + timedelta(days=2)) == []


async def test_what_its_broker_closed_is_booked_once_for_each_strategy_and_not_if_it_moved_meanwhile(
    trading: Trading,
) -> None:
    await holds(trading, 75, "100", strategy=ALPHA, product=Product.MIS)
    await holds(trading, -25, "110", strategy=BETA, product=Product.MIS)
    await holds(trading, 75, "100")
    told = PositionClosedAtBroker(
        account_id=ACCOUNT,
        instrument=CALL,
        product=Product.MIS,
        quantity=50,
        price=Decimal(120),
        version=2,
        closed_at=LATER,
    )
    assert await trading.hears(told.model_copy(update={"version": 1}), now=LATER) == []
    said = await trading.hears(told, now=LATER)
    closed = {m.strategy_id: (m.side, m.quantity, m.price) for m in said if isinstance(m, PositionSettled)}
    assert closed == {ALPHA: (Side.SELL, 75, Decimal(120)), BETA: (Side.BUY, 25, Decimal(120))}
    moved = {m.strategy_id: (m.net.quantity, m.book.realised_pnl) for m in said if isinstance(m, PositionChanged)}
    assert moved.keys() == {ALPHA, BETA}
    assert (moved[ALPHA][1], moved[BETA]) == (Decimal(1_500), (0, Decimal(-250)))
    funds = [m for m in said if isinstance(m, FundsChanged)][-1]
    assert (funds.realised_pnl, funds.used_margin) == (Decimal(1_250), Decimal(1_000)), (
        "what is held in NRML blocks what it did"
    )
    assert await trading.hears(told, now=LATER) == []


async def test_other_contracts_and_other_accounts_stay_as_they_are(trading: Trading) -> None:
    other = AccountId(order_id(42))
    await trading.hears(account_save(account_id=other))
    await holds(trading, 75, "100")
    await holds(trading, 25, "100", account_id=other)
    stock = cleared(quantity=10)
    await trading.hears(stock, filled(stock, 10))
    await trading.hears(worth("150"))
    said = await settles(trading)
    assert {(m.account_id, m.instrument) for m in said if isinstance(m, PositionSettled)} == {
        (ACCOUNT, CALL),
        (other, CALL),
    }


async def test_what_a_brokers_account_held_is_closed_and_its_margin_free(trading: Trading) -> None:
    """Each week's sold options kept theirs for ever: soon their seller was refused for want of margin."""
    theirs = AccountId(order_id(43))
    save = account_save(account_id=theirs)
    live = save.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(save.model_copy(update={"account": live}))
    await holds(trading, -75, "100", account_id=theirs)
    await trading.hears(worth("0"))
    said = await settles(trading)
    assert only(PositionChanged, said).net.quantity == 0
    funds = only(FundsChanged, said)
    assert (funds.account_id, funds.used_margin, funds.realised_pnl) == (theirs, ZERO, Decimal(7_500))


async def test_who_holds_what_cannot_be_settled_is_told_and_again_when_it_is_after_all(trading: Trading) -> None:
    """Operators alone were."""
    other, theirs = AccountId(order_id(42)), AccountId(order_id(43))
    at_a_broker = account_save(account_id=theirs)
    live = at_a_broker.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(account_save(account_id=other), at_a_broker.model_copy(update={"account": live}))
    await holds(trading, 75, "100", strategy=ALPHA)
    await holds(trading, -25, "100", product=Product.MIS)
    for each in (other, theirs):
        await holds(trading, 75, "100", account_id=each)
    await holds(trading, -75, "100", account_id=other)
    lacks = ContractUnsettled(instrument=CALL, expiry=date(2026, 11, 23), reason="the feed died")
    other_call = lacks.model_copy(update={"instrument": InstrumentId("NFO:NIFTY23NOV2624100CE")})
    said = await trading.hears(lacks, other_call, now=LATER)
    assert names(said) == ["PositionUnsettled"] * 3
    assert [(m.account_id, m.product, m.quantity) for m in said if isinstance(m, PositionUnsettled)] == [
        (ACCOUNT, Product.MIS, -25),
        (ACCOUNT, Product.NRML, 75),
        (theirs, Product.NRML, 75),
    ]
    told = said[0]
    assert isinstance(told, PositionUnsettled)
    assert (told.instrument, told.expiry, told.reason) == (CALL, date(2026, 11, 23), "the feed died")
    await trading.hears(worth("150"))
    assert names(await settles(trading)).count("PositionSettled") == 3


async def test_a_square_off_that_waited_for_the_contract_is_complete(trading: Trading) -> None:
    await holds(trading, 75, "100")
    said = await trading.hears(square_off())
    assert "OrderRequested" in names(said)
    await trading.hears(worth("150"))
    await settles(trading)
    work = Work(app, TradingMemory(), trading.connection, NOON + timedelta(minutes=5))
    done = await sweep(work.context(origin(app, work.now)))
    await work.store.write()
    assert only(SquareOffCompleted, done).expired == ()


@given(
    fills=st.lists(st.tuples(st.integers(-500, 500).filter(bool), st.decimals("0.05", "900", places=2)), min_size=1),
    price=st.decimals("0", "2000", places=2),
)
def test_after_settlement_the_profit_is_all_the_cash_that_moved(
    fills: list[tuple[int, Decimal]], price: Decimal
) -> None:
    holding = Holding()
    for signed, at in fills:
        holding = trade(holding, signed, at)
    left = holding.quantity
    if left:
        holding = trade(holding, -left, price)
    assert (holding.quantity, holding.cost) == (0, ZERO)
    assert holding.realised_pnl == left * price - sum(signed * at for signed, at in fills)
