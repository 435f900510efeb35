"""Square-offs while the market is closed: a paper account sends nothing that its venue would refuse."""

from collections.abc import Sequence
from datetime import UTC, datetime

from libs.common.contracts.base import Message
from libs.common.contracts.enums import Broker, ExecutionKind, Side
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.orders import SquareOffStarted
from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar
from tests.services.trading.hearing import Trading, names, only
from tests.services.trading.making import (
    ACCOUNT,
    SBIN,
    account_save,
    cleared,
    execution,
    filled,
    order_id,
    panic,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, exits, tick

CRUDE = InstrumentId("MCX:CRUDEOIL18DEC26FUT")


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Indian time in November 2026: the 23rd is a Monday, on the 24th the exchanges are closed."""
    return datetime(2026, 11, day, hour, minute, second, tzinfo=IST).astimezone(UTC)


async def holds(trading: Trading, instrument: InstrumentId = SBIN, account_id: AccountId = ACCOUNT) -> None:
    """From now on the exchanges' hours count."""
    trading.memory.calendar = TradingCalendar(MarketHours.EXCHANGE, MarketDays())
    entry = cleared(Side.BUY, 10, instrument=instrument, account_id=account_id)
    await trading.hears(entry, filled(entry, 10), now=at(23, 12))


async def fills(trading: Trading, said: Sequence[Message], now: datetime) -> list[Message]:
    [request] = exits(said)
    return await trading.hears(clear(request), filled(clear(request), 10), now=now)


async def test_what_is_asked_for_by_night_is_closed_when_the_market_opens(trading: Trading) -> None:
    await holds(trading)
    said = await trading.hears(square_off(), now=at(23, 15, 36))
    assert only(SquareOffStarted, said).closing == 1
    assert exits(said) == []
    for now in (at(23, 15, 37), at(23, 23, 59), at(24, 0), at(24, 12), at(25, 9, 14, 59)):
        assert await tick(trading, now) == []
    opens = at(25, 9, 15)
    assert "SquareOffCompleted" in names(await fills(trading, await tick(trading, opens), opens))


async def test_an_exit_that_the_close_overtook_is_tried_again_when_the_market_opens_and_not_before(
    trading: Trading,
) -> None:
    await holds(trading)
    [request] = exits(await trading.hears(panic(), now=at(23, 15, 34, 59)))
    rejected = execution(clear(request), ExecutionKind.REJECTED, reason="NSE is closed")
    assert exits(await trading.hears(clear(request), rejected, now=at(23, 15, 35))) == []
    assert await tick(trading, at(23, 18)) == []
    assert len(exits(await tick(trading, at(25, 9, 15)))) == 1


async def test_a_market_that_is_closed_holds_up_no_other(trading: Trading) -> None:
    """MCX trades until late."""
    await holds(trading)
    await holds(trading, CRUDE)
    said = await trading.hears(panic(), now=at(23, 20))
    assert [each.instrument for each in exits(said)] == [CRUDE]
    await fills(trading, said, at(23, 20))
    assert [each.instrument for each in exits(await tick(trading, at(25, 9, 15)))] == [SBIN]


async def test_at_a_broker_the_exit_is_sent_at_any_hour(trading: Trading) -> None:
    """An exchange may trade in an hour that our calendar does not know of, and the broker says if it does not."""
    theirs = AccountId(order_id(44))
    save = account_save(account_id=theirs)
    live = save.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(save.model_copy(update={"account": live}))
    await holds(trading, account_id=theirs)
    wish = square_off().model_copy(update={"account_id": theirs})
    assert len(exits(await trading.hears(wish, now=at(23, 20)))) == 1
