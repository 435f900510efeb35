"""Square-offs while the market is closed: what its venue would refuse is not sent, or not sent again and again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from libs.common.contracts.base import Message
from libs.common.contracts.enums import Broker, DenialRule, ExecutionKind, Product, Side, SquareOffReason
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.orders import LeftOpen, OrderRequested, SquareOffCompleted, SquareOffStarted
from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar
from services.trading.memory import TradingMemory
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
    reset,
    square_off,
)
from tests.services.trading.test_handlers.closing import clear, deny, exits, tick

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


async def trades_on(trading: Trading, now: datetime) -> None:
    """What is ordered now is neither cancelled nor closed again."""
    entry = cleared(Side.BUY, 5, instrument=CRUDE, epoch=1)
    said = await trading.hears(entry, filled(entry, 5), now=now)
    assert {"OrderSubmitted", "FillReported"} <= set(names(said))
    assert exits(said) == []
    assert await tick(trading, now) == []


def test_a_currency_contract_may_trade_until_half_past_noon_on_its_last_day() -> None:
    """Its paper venue refuses an exit from then on, and a panic would have sent one every half minute until five."""
    memory = TradingMemory()
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE, MarketDays())
    ends, goes_on = InstrumentId("CDS:USDINR23NOV26FUT"), InstrumentId("CDS:USDINR27NOV26FUT")
    hours = [at(23, 12, 29), at(23, 12, 30), at(23, 16, 59), at(23, 17)]
    assert [memory.may_trade(ends, each) for each in hours] == [True, False, False, False]
    assert [memory.may_trade(goes_on, each) for each in hours] == [True, True, True, False]


async def test_what_a_person_closes_ends_with_what_could_be_closed_and_tells_what_is_left(trading: Trading) -> None:
    """It went on closing all that the account did at MCX until NSE opened, and nobody could end it."""
    await holds(trading)
    await holds(trading, CRUDE)
    said = await fills(trading, await trading.hears(square_off(), now=at(23, 20)), at(23, 20))
    left = LeftOpen(strategy_id=None, instrument=SBIN, product=Product.MIS, quantity=10, reason="NSE is closed")
    assert only(SquareOffCompleted, said).left == (left,)
    await trades_on(trading, at(23, 20, 1))
    assert await tick(trading, at(25, 9, 15)) == []


async def test_a_person_who_closes_by_night_hears_at_once_that_nothing_could_be(trading: Trading) -> None:
    await holds(trading)
    said = await trading.hears(square_off(instrument=SBIN), now=at(23, 20))
    assert exits(said) == []
    assert [each.instrument for each in only(SquareOffCompleted, said).left] == [SBIN]
    said = await fills(trading, await trading.hears(square_off(n=2), now=at(25, 9, 15)), at(25, 9, 15))
    assert only(SquareOffCompleted, said).left == ()


async def test_after_its_reset_a_panic_touches_only_what_waits_for_its_market(trading: Trading) -> None:
    await holds(trading)
    await holds(trading, CRUDE)
    said = await fills(trading, await trading.hears(panic(), now=at(23, 20)), at(23, 20))
    [left] = only(SquareOffCompleted, said).left
    assert left.square_off_id == only(SquareOffStarted, said).square_off_id
    await trading.hears(reset(), now=at(23, 20, 1))
    await trades_on(trading, at(23, 20, 2))
    opens = at(25, 9, 15)
    said = await fills(trading, await tick(trading, opens), opens)
    assert only(SquareOffCompleted, said).square_off_id == left.square_off_id


async def test_while_a_panic_is_in_force_a_late_fill_elsewhere_is_closed(trading: Trading) -> None:
    """Though what is left of it waits for its own market alone."""
    await holds(trading)
    late = cleared(Side.BUY, 10, instrument=CRUDE)
    cancelled = execution(late, ExecutionKind.CANCELLED)
    await trading.hears(late, now=at(23, 20))
    await trading.hears(panic(), cancelled, now=at(23, 20))
    said = await trading.hears(filled(late, 10), now=at(23, 20, 1))
    assert [each.instrument for each in exits(said)] == [CRUDE]
    said = await fills(trading, said, at(23, 20, 1))
    assert [each.instrument for each in only(SquareOffCompleted, said).left] == [SBIN]
    assert len(exits(await tick(trading, at(25, 9, 15)))) == 1, "though two panics have it to close"


async def test_a_second_panic_by_night_closes_what_was_opened_since(trading: Trading) -> None:
    await holds(trading)
    await trading.hears(panic(), reset(), now=at(23, 20))
    await trades_on(trading, at(23, 20))
    said = await trading.hears(panic(n=2), now=at(23, 20, 1))
    assert [each.instrument for each in exits(said)] == [CRUDE]


async def test_what_an_algo_exits_by_night_is_closed_when_the_market_opens(trading: Trading) -> None:
    await holds(trading)
    said = await trading.hears(square_off(reason=SquareOffReason.SIGNAL_EXIT), now=at(23, 15, 36))
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


THEIRS = AccountId(order_id(44))
AT_BROKER = square_off().model_copy(update={"account_id": THEIRS})


async def holds_at_broker(trading: Trading, *instruments: InstrumentId) -> None:
    save = account_save(account_id=THEIRS)
    live = save.account.model_copy(update={"broker": Broker.ZERODHA})
    await trading.hears(save.model_copy(update={"account": live}))
    for instrument in instruments:
        await holds(trading, instrument, THEIRS)


async def refuses(trading: Trading, request: OrderRequested, now: datetime) -> None:
    rejected = execution(clear(request), ExecutionKind.REJECTED, reason="markets are closed right now")
    assert exits(await trading.hears(clear(request), rejected, now=now)) == []


async def test_at_a_broker_the_exit_is_sent_at_any_hour(trading: Trading) -> None:
    """An exchange may trade in an hour that our calendar does not know of, and the broker says if it does not."""
    await holds_at_broker(trading, SBIN)
    assert len(exits(await trading.hears(AT_BROKER, now=at(23, 20)))) == 1


async def test_what_a_broker_refused_by_night_is_sent_again_when_the_market_opens(trading: Trading) -> None:
    """It was sent, and refused, twice a minute until then."""
    await holds_at_broker(trading, SBIN, CRUDE)
    [crude, sbin] = exits(await trading.hears(AT_BROKER, now=at(25, 20)))
    await refuses(trading, sbin, at(25, 20))
    await refuses(trading, crude, at(25, 20))
    [again] = exits(await tick(trading, at(25, 20, 1)))
    assert again.instrument == CRUDE, "MCX trades until late"
    await fills(trading, [again], at(25, 20, 2))
    for now in (at(25, 21, 30), at(25, 23, 59), at(26, 0), at(26, 6), at(26, 9, 14, 59)):
        assert await tick(trading, now) == []
    opens = at(26, 9, 15)
    assert "SquareOffCompleted" in names(await fills(trading, await tick(trading, opens), opens))


async def test_at_a_broker_too_what_waits_holds_up_nothing_else(trading: Trading) -> None:
    await holds_at_broker(trading, SBIN)
    [sbin] = exits(await trading.hears(AT_BROKER, now=at(25, 20)))
    rejected = execution(clear(sbin), ExecutionKind.REJECTED, reason="markets are closed right now")
    said = await trading.hears(clear(sbin), rejected, now=at(25, 20))
    [left] = only(SquareOffCompleted, said).left
    assert exits(said) == [], "it was refused a moment ago"
    entry = cleared(Side.BUY, 5, instrument=CRUDE, account_id=THEIRS)
    assert exits(await trading.hears(entry, filled(entry, 5), now=at(25, 20, 1))) == []
    assert await tick(trading, at(25, 20, 1)) == []
    [again] = exits(await tick(trading, at(26, 9, 15)))
    assert again.square_off_id == left.square_off_id


async def test_what_risk_denies_by_night_at_a_broker_is_sent_again_when_the_market_opens(trading: Trading) -> None:
    await holds_at_broker(trading, SBIN)
    [request] = exits(await trading.hears(AT_BROKER, now=at(25, 20)))
    await trading.hears(deny(request, DenialRule.NO_REFERENCE_PRICE), now=at(25, 20))
    assert await tick(trading, at(26, 9, 14, 59)) == []
    assert len(exits(await tick(trading, at(26, 9, 15)))) == 1


async def test_on_a_holiday_what_a_broker_refused_is_tried_again_every_hour(trading: Trading) -> None:
    """MCX trades on the evenings of most of them, and our calendar knows of none: no panic must miss that."""
    await holds_at_broker(trading, CRUDE)
    said: Sequence[Message] = await trading.hears(AT_BROKER, now=at(24, 16))
    for tried in (at(24, 16), at(24, 17, 1)):
        [request] = exits(said)
        await refuses(trading, request, tried)
        assert await tick(trading, tried + timedelta(minutes=59)) == []
        said = await tick(trading, tried + timedelta(minutes=61))
    assert "SquareOffCompleted" in names(await fills(trading, said, at(24, 18, 2)))
