"""Exits at the market that a broker left at a limit, by its market protection, are asked for anew."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from libs.common.contracts.base import Message
from libs.common.contracts.brokers import BrokerCancelRequested
from libs.common.contracts.enums import Broker, Side
from libs.common.contracts.ids import AccountId, OrderId
from libs.common.contracts.orders import OrderCleared
from libs.common.contracts.venue import VenueCancelRequested
from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.testing import NOON
from libs.common.trading_calendar import TradingCalendar
from tests.services.trading.hearing import Trading, names
from tests.services.trading.making import (
    accepted,
    account_save,
    cancelled,
    cleared,
    filled,
    later,
    order_id,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits, tick

THEIRS = AccountId(order_id(44))
CLOSING = square_off().model_copy(update={"account_id": THEIRS})


async def closes(trading: Trading, broker: Broker, now: datetime = NOON) -> OrderCleared:
    """An account there closes what it holds. The exit is at its venue."""
    save = account_save()
    account = save.account.model_copy(update={"broker": broker, "account_id": THEIRS})
    entry = cleared(Side.BUY, 10, account_id=THEIRS)
    await trading.hears(save.model_copy(update={"account": account, "account_id": THEIRS}), now=now)
    await trading.hears(entry, filled(entry, 10), now=now)
    return await arrives(trading, await trading.hears(CLOSING, now=now), now)


async def arrives(trading: Trading, asked: Sequence[Message], now: datetime) -> OrderCleared:
    [request] = exits(asked)
    await trading.hears(clear(request), accepted(clear(request)), now=now)
    return clear(request)


def cancels(said: Sequence[Message]) -> list[OrderId]:
    return [m.order_id for m in said if isinstance(m, BrokerCancelRequested | VenueCancelRequested)]


async def sweeps(
    trading: Trading, now: datetime, awaited: Callable[[Sequence[Message]], Sequence[object]]
) -> tuple[datetime, Sequence[Message]]:
    """Each second until that is said; when it was, and all that was."""
    for _ in range(301):
        if awaited(said := await tick(trading, now)):
            return now, said
        now += timedelta(seconds=1)
    raise AssertionError(f"{awaited.__name__} never came")


async def test_an_exit_that_its_broker_left_at_a_limit_is_asked_for_anew(trading: Trading) -> None:
    """Kite takes no market order without protection. What that left rested until the close, at a price that the market
    had gone away from, and the square-off waited for it.
    """
    stranded = await closes(trading, Broker.ZERODHA)
    assert exits(await trading.hears(filled(stranded, 1, leaves=9), now=later(1))) == []
    assert await tick(trading, later(9)) == []
    assert cancels(await tick(trading, later(10))) == [stranded.order_id]
    assert await tick(trading, later(11)) == []
    assert exits(await trading.hears(cancelled(stranded), now=later(12))) == []
    [again] = exits(await tick(trading, later(13)))
    assert again.quantity == 9
    said = await trading.hears(clear(again), filled(clear(again), 9), now=later(14))
    assert "SquareOffCompleted" in names(said)


async def test_the_longer_it_lasts_the_longer_an_exit_may_rest(trading: Trading) -> None:
    """In a market that stands at its limit whoever asks anew goes to the end of the queue, and brokers count orders."""
    now, waited = NOON, []
    resting = await closes(trading, Broker.ZERODHA)
    for _ in range(7):
        began = now
        now, _ = await sweeps(trading, now, cancels)
        waited.append((now - began).total_seconds())
        assert exits(await trading.hears(cancelled(resting), now=now)) == []
        now, said = await sweeps(trading, now, exits)
        resting = await arrives(trading, said, now)
    assert waited == [10, 11, 24, 52, 112, 240, 300]


async def test_on_paper_an_exit_at_the_market_stays_at_the_market(trading: Trading) -> None:
    await closes(trading, Broker.PAPER)
    said = [*await tick(trading, later(3600)), *await tick(trading, later(3601))]
    assert exits(said) == cancels(said) == []


async def test_while_its_market_is_closed_an_exit_rests(trading: Trading) -> None:
    """A broker may keep it for the opening; nothing trades before."""
    trading.memory.calendar = TradingCalendar(MarketHours.EXCHANGE, MarketDays())
    night = NOON + timedelta(hours=8)
    await closes(trading, Broker.ZERODHA, night)
    said = [*await tick(trading, night + timedelta(hours=1)), *await tick(trading, night + timedelta(hours=2))]
    assert exits(said) == cancels(said) == []
