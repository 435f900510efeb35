"""A split or bonus is on what an account carried into its ex-date before anything is traded there, once."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common import ids
from libs.common.contracts.base import Message
from libs.common.contracts.enums import Broker, Product, Side
from libs.common.contracts.ids import OrderId, StrategyId
from libs.common.contracts.masters import CorporateActionKind, CorporateActionsImported, CorporateActionTerms
from libs.common.contracts.portfolio import FundsChanged, PositionAdjusted, PositionChanged, PositionUnadjusted
from libs.common.messaging.work import Work, origin
from libs.common.testing import NOON
from services.trading.app import app
from services.trading.handlers.corporate_actions import book
from services.trading.handlers.funds import begin_days
from services.trading.memory import TradingMemory
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import ALPHA, BETA, INFY, SBIN, USER, cleared, filled

SPLIT, BONUS = CorporateActionKind.SPLIT, CorporateActionKind.BONUS
MORNING = datetime.fromisoformat("2026-11-24T08:00+05:30")
EX_DATE = MORNING.date()


def told(
    kind: CorporateActionKind = SPLIT, old: int = 1, new: int = 2, ex_date: date = EX_DATE, **more: Any
) -> CorporateActionsImported:
    terms = CorporateActionTerms(instrument=SBIN, kind=kind, ex_date=ex_date, old=old, new=new, **more)
    return CorporateActionsImported(import_id=ids.new_id(), user_id=USER, actions=(terms,))


async def buys(
    trading: Trading, quantity: int, strategy: StrategyId | None = None, *, now: datetime = NOON, price: str = "1000"
) -> None:
    """On the day before, unless told otherwise; the order's id is of that time. Each share blocks what it cost."""
    own = OrderId(ids.derive(ids.first_of(now), quantity, strategy))
    blocked: dict[str, Any] = {"margin": str(1000 * quantity), "unit": "1000", "product": Product.CNC}
    order = cleared(Side.BUY, quantity, order=own, instrument=SBIN, strategy=strategy, **blocked)
    await trading.hears(order, filled(order, quantity, price), now=now)


async def midnight(trading: Trading, now: datetime = MORNING) -> Sequence[Message]:
    work = Work(app, TradingMemory(), trading.connection, now)
    said = await begin_days(work.context(origin(app, now)))
    await work.store.write()
    return said


async def ticks(trading: Trading, now: datetime = MORNING) -> Sequence[Message]:
    """Of the timer that looks for what was told too late for midnight."""
    work = Work(app, TradingMemory(), trading.connection, now)
    said = await book(work.context(origin(app, now)))
    await work.store.write()
    return said


def held(said: Sequence[Message]) -> tuple[int, Decimal, Decimal]:
    """In the end."""
    net = [message for message in said if isinstance(message, PositionChanged)][-1].net
    return net.quantity, net.average_price, net.realised_pnl


async def test_a_split_halves_the_price_of_twice_the_shares_as_its_ex_date_begins(trading: Trading) -> None:
    """They were worth half, a stop sold half of them, and nobody could sell the rest."""
    await buys(trading, 100, ALPHA)
    assert await trading.hears(told()) == []
    assert await ticks(trading, NOON) == []
    said = await midnight(trading)
    assert names(said) == ["PositionChanged", "PositionAdjusted", "PositionChanged"]
    adjusted, moved = only(PositionAdjusted, said), [m for m in said if isinstance(m, PositionChanged)][-1]
    assert (adjusted.before, adjusted.quantity, adjusted.ex_date) == (100, 200, EX_DATE)
    assert held(said) == (200, Decimal(500), Decimal(0))
    assert (moved.book.quantity, moved.strategy_id, moved.margin, moved.fill_quantity) == (
        200,
        ALPHA,
        Decimal(100_000),
        0,
    )
    assert await midnight(trading) == await ticks(trading) == []
    sale = cleared(Side.SELL, 200, instrument=SBIN, strategy=ALPHA, product=Product.CNC, margin="0", unit="0")
    said = await trading.hears(sale, filled(sale, 200, "520"), now=MORNING)
    assert held(said) == (0, Decimal(0), Decimal(4000))
    assert only(FundsChanged, said[-1:]).available == 1_004_000


async def test_who_trades_first_on_that_day_trades_the_new_shares(trading: Trading) -> None:
    """The stack came up with the market open: the fill was read before any account's day had begun."""
    await buys(trading, 100)
    await trading.hears(told())
    sale = cleared(Side.SELL, 150, instrument=SBIN, product=Product.CNC, margin="0", unit="0")
    said = await trading.hears(sale, filled(sale, 150, "510"), now=MORNING + timedelta(hours=2))
    assert held(said) == (50, Decimal(500), Decimal(1500))


@pytest.mark.parametrize("days", [1, 4])
async def test_a_stack_that_was_down_on_that_day_books_it_when_it_is_up(trading: Trading, days: int) -> None:
    await buys(trading, 100)
    await trading.hears(told())
    assert held(await midnight(trading, MORNING + timedelta(days=days))) == (200, Decimal(500), Decimal(0))


async def test_what_is_told_in_the_morning_is_booked_once_and_stays(trading: Trading) -> None:
    await buys(trading, 100)
    assert names(await midnight(trading)) == ["PositionChanged"]
    await trading.hears(told(), now=MORNING)
    said = await ticks(trading)
    assert names(said) == ["PositionAdjusted", "PositionChanged"]
    assert held(said) == (200, Decimal(500), Decimal(0))
    await trading.hears(told(), told(new=5), told(withdrawn=True), told(), now=MORNING)
    assert await ticks(trading) == await midnight(trading, MORNING + timedelta(days=1)) == []


async def test_a_kill_before_the_commit_books_nothing_and_the_next_look_the_same(trading: Trading) -> None:
    await buys(trading, 100)
    await trading.hears(told())
    dead = trading.connection.transaction()
    await dead.start()
    before = await midnight(trading)
    await dead.rollback()
    assert only(PositionAdjusted, await midnight(trading)) == only(PositionAdjusted, before)


async def test_what_was_taken_back_or_corrected_in_time_is_not_booked_as_it_was(trading: Trading) -> None:
    await buys(trading, 100)
    await trading.hears(told(), told(BONUS, 1, 4))
    await trading.hears(told(withdrawn=True), told(BONUS, 2, 1))
    assert held(await midnight(trading)) == (150, Decimal("666.6667"), Decimal(0))


async def test_a_split_and_a_bonus_of_one_day_are_both_booked_and_one_of_a_later_day_waits(trading: Trading) -> None:
    await buys(trading, 10)
    await trading.hears(told(SPLIT, 1, 5), told(BONUS, 1, 1), told(SPLIT, 1, 2, EX_DATE + timedelta(days=1)))
    said = await midnight(trading)
    assert held(said) == (100, Decimal(100), Decimal(0))
    assert len({m.adjustment_id for m in said if isinstance(m, PositionAdjusted)}) == 2
    assert held(await midnight(trading, MORNING + timedelta(days=1))) == (200, Decimal(50), Decimal(0))


async def test_a_fraction_is_paid_out_at_what_it_cost_and_the_books_share_the_rest(trading: Trading) -> None:
    await buys(trading, 5, ALPHA)
    await buys(trading, 10, BETA)
    await trading.hears(told(BONUS, 2, 1))
    said = await midnight(trading)
    assert held(said) == (22, Decimal("666.6667"), Decimal(0))
    books = {each.strategy_id: each.quantity for each in only(PositionAdjusted, said).books}
    assert books == {ALPHA: 7, BETA: 15}
    last = {m.strategy_id: m for m in said if isinstance(m, PositionChanged)}
    assert [last[each].book.average_price for each in (ALPHA, BETA)] == [Decimal("666.6667")] * 2
    funds = only(FundsChanged, said)
    assert funds.used_margin == last[BETA].margin == Decimal("14666.67")
    assert (funds.realised_pnl, funds.available) == (Decimal(0), Decimal("985333.33"))


async def test_books_that_offset_each_other_are_split_as_well(trading: Trading) -> None:
    await buys(trading, 10, ALPHA)
    sale = cleared(Side.SELL, 10, instrument=SBIN, strategy=BETA, product=Product.CNC, margin="0", unit="0")
    await trading.hears(sale, filled(sale, 10, "1100"))
    await midnight(trading)
    await trading.hears(told(), now=MORNING)
    last = {m.strategy_id: m for m in await ticks(trading) if isinstance(m, PositionChanged)}
    assert {strategy: (m.book.quantity, m.book.average_price) for strategy, m in last.items()} == {
        ALPHA: (20, Decimal(500)),
        BETA: (-20, Decimal(550)),
    }
    assert {m.net.quantity for m in last.values()} == {0}


async def test_what_was_bought_on_its_ex_date_is_left_as_it_was(trading: Trading) -> None:
    await trading.hears(told())
    await buys(trading, 100, now=MORNING + timedelta(hours=2), price="500")
    assert await ticks(trading, MORNING + timedelta(hours=2)) == []
    assert names(await midnight(trading, MORNING + timedelta(days=1))) == ["PositionChanged"]


async def test_what_was_traded_on_its_ex_date_before_it_was_told_is_left_alone(trading: Trading) -> None:
    """Nobody knows how much of it was carried."""
    await buys(trading, 100)
    await midnight(trading)
    await buys(trading, 10, now=MORNING + timedelta(hours=2), price="500")
    await trading.hears(told(), now=MORNING + timedelta(hours=3))
    assert await ticks(trading, MORNING + timedelta(hours=3)) == []


@pytest.mark.parametrize("days", [0, 3])
async def test_whose_shares_are_at_a_broker_hears_that_nothing_is_booked_once(trading: Trading, days: int) -> None:
    """They were shown at a loss of half, and nothing told why."""
    await buys(trading, 60, ALPHA)
    await buys(trading, 40)
    await trading.connection.execute("UPDATE accounts SET broker = $1", Broker.ZERODHA)
    await trading.hears(told())
    later = MORNING + timedelta(days=days)
    said = await midnight(trading, later)
    event = only(PositionUnadjusted, said)
    assert (event.quantity, event.shares, event.ex_date) == (100, 200, EX_DATE)
    assert held(said)[:2] == (100, Decimal(1000))
    assert await ticks(trading, later) == await midnight(trading, later + timedelta(days=1)) == []


async def test_who_had_sold_them_before_hears_nothing(trading: Trading) -> None:
    await buys(trading, 100)
    sale = cleared(Side.SELL, 100, instrument=SBIN, product=Product.CNC, margin="0", unit="0")
    await trading.hears(sale, filled(sale, 100, "1000"))
    await trading.connection.execute("UPDATE accounts SET broker = $1", Broker.ZERODHA)
    await trading.hears(told())
    assert "PositionUnadjusted" not in names(await midnight(trading))


async def test_other_shares_dividends_and_accounts_at_a_broker_are_left_alone(trading: Trading) -> None:
    await buys(trading, 100)
    dividend = told(CorporateActionKind.DIVIDEND, amount=Decimal(5))
    terms = told().actions[0].model_copy(update={"instrument": INFY})
    await trading.hears(dividend, told().model_copy(update={"actions": (terms,)}))
    assert names(await midnight(trading)) == ["PositionChanged"]
    await trading.connection.execute("UPDATE accounts SET broker = $1", Broker.ZERODHA)
    await trading.hears(told(), now=MORNING)
    assert await ticks(trading) == await midnight(trading, MORNING + timedelta(days=1)) == []
