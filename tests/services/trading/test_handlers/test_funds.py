"""A new day begins at midnight in India: positions go on, the day's profit starts again."""

from datetime import timedelta
from decimal import Decimal

from libs.common.contracts.enums import Product, Side
from libs.common.contracts.ids import AccountId
from libs.common.contracts.portfolio import FundsChanged, PositionChanged
from libs.common.messaging.work import Work, origin
from libs.common.testing import NOON
from services.trading.app import app
from services.trading.handlers.funds import begin_days
from services.trading.memory import TradingMemory
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import account_save, cleared, filled, order_id


async def test_midnight_in_india_begins_a_new_day_for_accounts_that_do_not_trade(trading: Trading) -> None:
    buy, sell = cleared(Side.BUY, 10), cleared(Side.SELL, 4)
    await trading.hears(buy, filled(buy, 10, "100"), sell, filled(sell, 4, "110"))
    work = Work(app, TradingMemory(), trading.connection, NOON + timedelta(days=1))
    said = await begin_days(work.context(origin(app, work.now)))
    await work.store.write()
    assert names(said) == ["FundsChanged", "PositionChanged"]
    assert only(FundsChanged, said).opening_balance == 1_000_040
    moved = only(PositionChanged, said)
    assert (moved.net.quantity, moved.fill_quantity, moved.version) == (6, 0, 3)
    again = Work(app, TradingMemory(), trading.connection, NOON + timedelta(days=1, hours=1))
    assert await begin_days(again.context(origin(app, again.now))) == []


async def test_openalgo_1426_carry_forward_average_price_while_the_days_profit_starts_again(trading: Trading) -> None:
    buy, sell = cleared(Side.BUY, 10, product=Product.NRML), cleared(Side.SELL, 4, product=Product.NRML)
    await trading.hears(buy, filled(buy, 10, "100"), sell, filled(sell, 4, "110"))
    again = cleared(Side.SELL, 1, product=Product.NRML)
    said = await trading.hears(again, filled(again, 1, "120"), now=NOON + timedelta(days=1))
    carried, sold = [m for m in said if isinstance(m, PositionChanged)]
    assert (carried.net.quantity, carried.net.average_price, carried.net.realised_pnl) == (6, Decimal(100), Decimal(0))
    assert (sold.net.quantity, sold.net.average_price, sold.net.realised_pnl) == (5, Decimal(100), Decimal(20))
    funds = [m for m in said if isinstance(m, FundsChanged)]
    assert (funds[-1].opening_balance, funds[-1].realised_pnl) == (Decimal(1_000_040), Decimal(20))


async def test_thousands_of_accounts_begin_their_day_within_a_minute_of_midnight(trading: Trading) -> None:
    """With five thousand the last ones showed yesterday's profit, and no holdings, for eight minutes."""
    await trading.hears(*(account_save(account_id=AccountId(order_id())) for _ in range(600)))
    [seconds] = [timer.seconds for timer in app.timers if timer.handler is begin_days]
    for _ in range(round(10 / seconds)):
        work = Work(app, TradingMemory(), trading.connection, NOON + timedelta(days=1))
        await begin_days(work.context(origin(app, work.now)))
        await work.store.write()
    today = (NOON + timedelta(days=1)).date()
    assert await trading.connection.fetchval("SELECT count(*) FROM accounts WHERE day < $1", today) == 0
