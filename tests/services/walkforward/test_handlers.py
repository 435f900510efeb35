"""Requests to the venue, on a real book."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from libs.common.contracts.base import Message
from libs.common.contracts.enums import (
    Exchange,
    ExecutionKind,
    InstrumentKind,
    OrderPurpose,
    OrderType,
    Side,
    Validity,
)
from libs.common.contracts.ids import AccountId, InstrumentId
from libs.common.contracts.venue import ExecutionReported
from libs.common.database import Connection
from libs.common.ids import new_id
from libs.common.service import Context
from libs.common.testing import deliver
from libs.common.testing.delivery import envelope_of
from services.walkforward.app import app
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore
from services.walkforward.timers import forget_finished_orders
from tests.services.walkforward.venue import (
    NIFTY_FUTURE,
    NOON,
    SBIN,
    cancel,
    later,
    listed,
    memory,
    modify,
    request,
    tick,
)

K = ExecutionKind
BUY, SELL = Side.BUY, Side.SELL
LIMIT, SL_M = OrderType.LIMIT, OrderType.SL_M
SATURDAY = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)


async def told(
    connection: Connection, knows: WalkforwardMemory, *messages: Message, now: datetime = NOON
) -> Sequence[ExecutionReported]:
    said = await deliver(app, connection, *messages, memory=knows, now=now)
    assert all(isinstance(each, ExecutionReported) for each in said)
    return [each for each in said if isinstance(each, ExecutionReported)]


async def test_openalgo_1685_1768_an_order_that_can_trade_is_accepted_and_filled_in_one_go(
    connection: Connection,
) -> None:
    """openalgo#1685, #1768: a paper market order took twelve seconds."""
    asked = request(BUY, 100)
    accepted, filled = await told(connection, memory(tick(bid=99.95, ask=100.05)), asked)
    assert (accepted.kind, accepted.leaves_quantity) == (K.ACCEPTED, 100)
    assert (filled.kind, filled.quantity, filled.price, filled.leaves_quantity) == (
        K.FILLED,
        100,
        Decimal("100.05"),
        0,
    )
    assert accepted.venue_order_id == filled.venue_order_id
    assert (filled.account_id, filled.executed_at) == (asked.account_id, NOON)


async def test_a_market_order_walks_the_depth_that_its_tick_brought(connection: Connection) -> None:
    knows = memory(tick(asks=((100.2, 50), (100.0, 30), (100.1, 50))))
    accepted, *filled = await told(connection, knows, request(BUY, 100))
    assert accepted.kind is K.ACCEPTED
    walked = [(30, Decimal("100.00"), 70), (50, Decimal("100.10"), 20), (20, Decimal("100.20"), 0)]
    assert [(each.quantity, each.price, each.leaves_quantity) for each in filled] == walked
    [left] = (await told(connection, knows, request(BUY, 30)))[1:]
    assert (left.quantity, left.price) == (30, Decimal("100.20")), "what one took the next does not get"


def test_what_is_listed_no_more_leaves_no_price_behind() -> None:
    """Thousands of contracts expire in a month, and a process may live for many."""
    knows = memory(tick(ask=100.0), tick(ask=24_000.0, instrument=NIFTY_FUTURE))
    gone = listed(NIFTY_FUTURE, Exchange.NFO, lot_size=75, kind=InstrumentKind.FUTURE, tradable=False)
    knows.learn(gone.model_copy(update={"delisted": True}))
    assert knows.market(NIFTY_FUTURE, NOON) is None
    assert knows.market(SBIN, NOON) is not None


async def test_the_same_order_acts_once_however_often_it_arrives(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY)
    first = await told(connection, knows, asked, asked)
    assert [e.kind for e in first] == [K.ACCEPTED, K.FILLED]
    assert await told(connection, knows, asked) == []


async def test_an_order_that_arrives_after_its_time_is_refused_and_never_trades(connection: Connection) -> None:
    knows = memory(tick(ask=100.0))
    late = request(BUY).model_copy(update={"expires_at": NOON - timedelta(seconds=7)})
    [refused] = await told(connection, knows, late)
    assert (refused.kind, refused.reason) == (K.REJECTED, "the order reached the venue 7 s after it had expired")
    assert await told(connection, knows, late) == []
    in_time = request(BUY).model_copy(update={"expires_at": NOON})
    assert [each.kind for each in await told(connection, knows, in_time)] == [K.ACCEPTED, K.FILLED]


async def test_a_change_that_waited_out_an_outage_of_the_venue_is_refused_and_a_cancel_is_carried_out(
    connection: Connection,
) -> None:
    """An hour after it was sent it put at the market, and filled, what its owner had long left at its limit."""
    knows, asked = memory(tick(bid=99.95, ask=100.05)), request(BUY, 100, LIMIT, "99.00")
    await told(connection, knows, asked)
    hour_later = later(3600)
    knows.see(tick(bid=99.95, ask=100.05, at=hour_later))
    change = modify(asked, 1_000, OrderType.MARKET)
    [refused] = await deliver(app, connection, change, memory=knows, now=hour_later, cause=envelope_of(change))
    assert isinstance(refused, ExecutionReported)
    assert (refused.kind, refused.leaves_quantity) == (K.MODIFY_REJECTED, 100)
    assert refused.reason == "the change reached the venue 3600 s after it was sent: the order stays as it was"
    [modified] = await told(connection, knows, modify(asked, 100, LIMIT, "99.05"), now=hour_later)
    assert modified.kind is K.MODIFIED
    withdrawal = cancel(asked)
    [ended] = await deliver(app, connection, withdrawal, memory=knows, now=hour_later, cause=envelope_of(withdrawal))
    assert isinstance(ended, ExecutionReported)
    assert ended.kind is K.CANCELLED


async def test_a_venue_that_lost_its_book_and_reads_a_month_anew_trades_none_of_it(connection: Connection) -> None:
    knows = memory(tick(ask=100.0))
    month = [request(BUY).model_copy(update={"expires_at": NOON - timedelta(days=day, seconds=1)}) for day in range(30)]
    assert {each.kind for each in await told(connection, knows, *month)} == {K.REJECTED}


async def test_deciding_again_after_a_crash_reports_the_same_executions(connection: Connection) -> None:
    asked = request(BUY)

    async def attempt() -> list[str]:
        transaction = connection.transaction()
        await transaction.start()
        said = await told(connection, memory(tick(ask=100.0)), asked)
        await transaction.rollback()
        return [e.execution_id for e in said]

    assert await attempt() == await attempt()


async def test_two_orders_on_one_tick_share_what_it_shows(connection: Connection) -> None:
    first, second = request(BUY, 60), request(BUY, 60)
    said = await told(connection, memory(tick(ask=100.0, ask_quantity=100)), first, second)
    assert [(e.order_id, e.quantity) for e in said if e.kind is K.FILLED] == [
        (first.order_id, 60),
        (second.order_id, 40),
    ]


@pytest.mark.parametrize(
    ("instrument", "now", "reason"),
    [
        ("NSE:NOSUCH", NOON, "NSE:NOSUCH is not in the contract master"),
        ("NSE_INDEX:NIFTY", NOON, "NSE_INDEX:NIFTY is not tradable"),
        ("NSE:SBIN", SATURDAY, "NSE is closed on 2026-11-21"),
        ("NSE:SBIN", NOON + timedelta(hours=5), "NSE is closed at 17:00; it trades 09:15 to 15:30"),
        ("NFO:NIFTY24NOV26FUT", NOON, "quantity 100 is not a multiple of the lot size 75"),
    ],
)
async def test_an_impossible_order_is_rejected_and_says_why(
    connection: Connection, instrument: InstrumentId, now: datetime, reason: str
) -> None:
    knows = memory(tick())
    knows.learn(listed(InstrumentId("NSE_INDEX:NIFTY"), Exchange.NSE_INDEX, tradable=False))
    (rejected,) = await told(connection, knows, request(instrument=instrument), now=now)
    assert (rejected.kind, rejected.reason, rejected.leaves_quantity) == (K.REJECTED, reason, 0)


async def test_an_exit_need_not_be_in_whole_lots(connection: Connection) -> None:
    """What it closes was bought before the lot size was changed."""
    leaving = request(instrument=NIFTY_FUTURE).model_copy(update={"purpose": OrderPurpose.SQUARE_OFF})
    [accepted] = await told(connection, memory(tick()), leaving)
    assert accepted.kind is K.ACCEPTED


async def test_a_rejected_order_stays_rejected(connection: Connection) -> None:
    asked = request()
    await told(connection, memory(tick()), asked, now=SATURDAY)
    assert await told(connection, memory(tick()), asked, now=NOON) == []


async def test_the_closing_auction_takes_no_stops(connection: Connection) -> None:
    knows = memory(tick())
    future = listed(NIFTY_FUTURE, Exchange.NFO, 75, kind=InstrumentKind.FUTURE, spot=SBIN)
    knows.learn(future)
    auction = NOON + timedelta(hours=3, minutes=20)
    (rejected,) = await told(connection, knows, request(order_type=SL_M, trigger="101.00"), now=auction)
    assert rejected.reason == "the closing auction takes limit and market orders only"
    (accepted,) = await told(connection, knows, request(order_type=LIMIT, limit="50.00"), now=auction)
    assert accepted.kind is K.ACCEPTED


async def test_a_currency_contract_trades_until_half_past_noon_on_its_last_day(connection: Connection) -> None:
    """Orders were taken, and rested, until five o'clock: nobody trades it then, and nothing of it is settled here."""
    knows, dollar = memory(tick()), InstrumentId("CDS:USDINR23NOV26FUT")
    knows.learn(
        listed(dollar, Exchange.CDS, kind=InstrumentKind.FUTURE).model_copy(update={"expiry": date(2026, 11, 23)})
    )
    resting = request(order_type=LIMIT, limit="50.00", instrument=dollar)
    (accepted,) = await told(connection, knows, resting)
    assert accepted.kind is K.ACCEPTED
    ends = NOON + timedelta(minutes=30)
    assert [order.expires_at for order in await WalkforwardStore(connection).open_orders()] == [ends]
    (closed,) = await told(connection, knows, request(instrument=dollar), now=ends)
    assert closed.reason == "CDS is closed at 12:30; it trades 09:00 to 12:30"


async def test_in_the_closing_auction_no_order_becomes_a_stop(connection: Connection) -> None:
    knows = memory(tick())
    knows.learn(listed(NIFTY_FUTURE, Exchange.NFO, 75, kind=InstrumentKind.FUTURE, spot=SBIN))
    resting, stop = request(order_type=LIMIT, limit="50.00"), request(order_type=SL_M, trigger="120.00")
    await told(connection, knows, resting, stop)
    auction = NOON + timedelta(hours=3, minutes=20)
    (refused,) = await told(connection, knows, modify(resting, 100, SL_M, None, "101.00"), now=auction)
    assert (refused.kind, refused.leaves_quantity) == (K.MODIFY_REJECTED, 100)
    assert refused.reason == "the closing auction takes limit and market orders only"
    for order, limit in ((resting, "50.05"), (stop, "50.00")):
        (modified,) = await told(connection, knows, modify(order, 100, LIMIT, limit), now=auction)
        assert modified.kind is K.MODIFIED


async def test_a_stock_on_which_nothing_is_written_any_more_has_no_closing_auction(connection: Connection) -> None:
    """Every quarter some lose their derivatives; what has expired is listed as gone, and read again at each start."""
    knows = memory(tick())
    future = listed(NIFTY_FUTURE, Exchange.NFO, 75, kind=InstrumentKind.FUTURE, spot=SBIN)
    knows.learn(future)
    knows.learn(future.model_copy(update={"tradable": False, "delisted": True}))
    afternoon = NOON + timedelta(hours=3, minutes=20)
    (accepted,) = await told(connection, knows, request(order_type=SL_M, trigger="101.00"), now=afternoon)
    assert accepted.kind is K.ACCEPTED
    (closed,) = await told(connection, knows, request(), now=afternoon + timedelta(minutes=12))
    assert closed.reason == "NSE is closed at 15:32; it trades 09:15 to 15:30"


async def test_without_a_believable_price_an_order_waits_and_an_ioc_order_expires(connection: Connection) -> None:
    for knows in (memory(), memory(tick(at=later(-61)))):
        assert [e.kind for e in await told(connection, knows, request())] == [K.ACCEPTED]
        at_once = await told(connection, knows, request(validity=Validity.IOC))
        assert [e.kind for e in at_once] == [K.ACCEPTED, K.EXPIRED]


async def test_an_old_price_is_not_believed_because_it_was_told_again(connection: Connection) -> None:
    """A ticker that is subscribed again, or quotes asked for over HTTP, say once more what traded last: hours ago."""
    again = tick(ltp=100.0, at=later(-7200)).model_copy(update={"received_at": NOON})
    knows, asked = memory(again), request(BUY, 100, LIMIT, "120.00")
    assert [e.kind for e in await told(connection, knows, asked)] == [K.ACCEPTED]
    at_once = await told(connection, knows, request(validity=Validity.IOC))
    assert [e.kind for e in at_once] == [K.ACCEPTED, K.EXPIRED]


async def test_a_price_that_is_not_a_number_fills_nothing(connection: Connection) -> None:
    for nonsense in (float("nan"), 0.0, -1.0):
        knows = memory(tick(nonsense, bid=nonsense, ask=nonsense))
        assert [e.kind for e in await told(connection, knows, request())] == [K.ACCEPTED]


async def test_an_order_is_cancelled_once(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY, 100, LIMIT, "99.00")
    said = await told(connection, knows, asked, cancel(asked), cancel(asked))
    assert [e.kind for e in said] == [K.ACCEPTED, K.CANCELLED, K.CANCEL_REJECTED]
    assert said[2].reason == "the order is CANCELLED already"
    assert len({e.execution_id for e in said}) == 3


async def test_an_unknown_order_cannot_be_cancelled_or_changed(connection: Connection) -> None:
    said = await told(connection, memory(), cancel(request()), modify(request(), limit="99.00"))
    assert [(e.kind, e.reason) for e in said] == [
        (K.CANCEL_REJECTED, "the venue has no such order"),
        (K.MODIFY_REJECTED, "the venue has no such order"),
    ]


async def test_an_order_that_comes_after_its_cancel_trades_nothing(connection: Connection) -> None:
    """Its sender was stopped after the commit, a panic cancelled it, and a successor sent it eight seconds later."""
    knows, asked = memory(tick(ask=100.0)), request(BUY)
    await told(connection, knows, cancel(asked))
    said = await told(connection, knows, asked, now=later(8))
    assert [(e.kind, e.leaves_quantity, e.reason) for e in said] == [(K.CANCELLED, 0, "cancelled before it came")]
    assert await told(connection, knows, asked, now=later(9)) == []
    (row,) = await WalkforwardStore(connection).lock([asked.order_id])
    assert (row.status, row.filled, row.executions) == ("CANCELLED", 0, 1)


async def test_a_cancel_and_its_order_in_one_batch_the_wrong_way_round_trade_nothing(connection: Connection) -> None:
    asked = request(BUY)
    said = await told(connection, memory(tick(ask=100.0)), cancel(asked), cancel(asked), asked)
    assert [e.kind for e in said] == [K.CANCEL_REJECTED, K.CANCEL_REJECTED, K.CANCELLED]
    assert len({e.execution_id for e in said}) == 3


async def test_a_cancel_of_another_account_that_comes_early_does_not_hold(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY)
    await told(connection, knows, cancel(asked).model_copy(update={"account_id": AccountId(new_id())}))
    assert [e.kind for e in await told(connection, knows, asked)] == [K.ACCEPTED, K.FILLED]


async def test_early_cancels_are_forgotten_after_an_hour(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY)
    await told(connection, knows, cancel(asked))
    store = WalkforwardStore(connection)
    context = Context(store, knows, later(3601), envelope_of(asked, now=NOON))
    await forget_finished_orders(context)
    assert await connection.fetchval("SELECT count(*) FROM early_cancels") == 0


async def test_finished_orders_are_forgotten_as_fast_as_two_hundred_come_a_second(connection: Connection) -> None:
    """33 went: the book grew for ever."""
    [timer] = [each for each in app.timers if each.handler is forget_finished_orders]
    came = 600 * 200
    await connection.execute(
        """
        INSERT INTO orders (order_id, account_id, instrument, side, quantity, order_type, validity, status, priority_at,
                            active_from, expires_at, filled, triggered, executions, changed_at)
        SELECT gen_random_uuid(), $1, 'NSE:SBIN', 'BUY', 1, 'MARKET', 'DAY', 'FILLED', $2, $2, $2, 1, false, 1, $2
        FROM generate_series(1, $3) AS n
        """,
        new_id(),
        datetime(2024, 6, 10, tzinfo=UTC),
        came,
    )
    for _ in range(int(600 / timer.seconds)):
        await timer.handler(Context(WalkforwardStore(connection), memory(), NOON, envelope_of(request(BUY), now=NOON)))
    assert await connection.fetchval("SELECT count(*) FROM orders WHERE changed_at < '2025-01-01'") == 0


async def test_a_cancel_that_comes_after_the_fill_changes_nothing(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY)
    said = await told(connection, knows, asked, cancel(asked))
    assert [e.kind for e in said] == [K.ACCEPTED, K.FILLED, K.CANCEL_REJECTED]
    row = (await WalkforwardStore(connection).lock([asked.order_id]))[0]
    assert (row.filled, row.is_open) == (100, False)


async def test_a_modified_order_meets_the_market_at_once(connection: Connection) -> None:
    knows, asked = memory(tick(bid=99.9, ask=100.0)), request(BUY, 100, LIMIT, "99.00")
    await told(connection, knows, asked)
    said = await told(connection, knows, modify(asked, 50, LIMIT, "100.00"))
    assert [(e.kind, e.quantity, e.price) for e in said] == [
        (K.MODIFIED, 50, Decimal("100.00")),
        (K.FILLED, 50, Decimal("100.00")),
    ]


async def test_a_refused_change_says_what_still_rests(connection: Connection) -> None:
    knows, asked = memory(tick(ask=100.0)), request(BUY, 100, LIMIT, "99.00")
    await told(connection, knows, asked)
    (refused,) = await told(connection, knows, modify(asked, 100, LIMIT, "99.01"))
    assert (refused.kind, refused.leaves_quantity) == (K.MODIFY_REJECTED, 100)
    assert refused.reason == "price 99.01 is not a positive multiple of the tick size 0.05"


async def test_an_order_under_way_is_accepted_and_meets_no_market_yet(connection: Connection) -> None:
    asked = request(validity=Validity.IOC)
    said = await told(connection, memory(tick(), latency_ms=200), asked)
    assert [e.kind for e in said] == [K.ACCEPTED]
    (row,) = await WalkforwardStore(connection).lock([asked.order_id])
    assert (row.active_from, row.expires_at) == (later(0.2), later(1.2))


async def test_a_stop_that_waits_is_only_accepted(connection: Connection) -> None:
    said = await told(connection, memory(tick(100.0)), request(SELL, order_type=SL_M, trigger="99.00"))
    assert [e.kind for e in said] == [K.ACCEPTED]


async def test_a_batch_writes_each_order_as_it_ended(connection: Connection) -> None:
    knows = memory(tick(ask=100.0))
    asked = [request(BUY, 10), request(BUY, 10, LIMIT, "99.00"), request(instrument=InstrumentId("NSE:NOSUCH"))]
    await told(connection, knows, *asked)
    rows = {row.order_id: row.status for row in await WalkforwardStore(connection).lock(r.order_id for r in asked)}
    assert [rows[r.order_id] for r in asked] == ["FILLED", "ACCEPTED", "REJECTED"]


async def test_refusals_of_different_requests_have_different_ids(connection: Connection) -> None:
    unknown = request()
    said = await told(connection, memory(), cancel(unknown), cancel(unknown))
    assert len({e.execution_id for e in said}) == 2


async def test_what_somebody_discarded_is_refused_and_trading_told(connection: Connection) -> None:
    """An order in an instrument whose requests were parked stayed on its way to the venue for ever, with its margin."""
    knows, asked = memory(), request(BUY, 10, LIMIT, "90")
    [rejected] = await deliver(app, connection, asked, memory=knows, given_up=True)
    assert isinstance(rejected, ExecutionReported)
    assert (rejected.kind, rejected.order_id) == (K.REJECTED, asked.order_id)
    resting = request(BUY, 10, LIMIT, "90")
    await told(connection, knows, resting)
    for wish, kind in ((modify(resting, 20, LIMIT, "91"), K.MODIFY_REJECTED), (cancel(resting), K.CANCEL_REJECTED)):
        [refused] = await deliver(app, connection, wish, memory=knows, given_up=True)
        assert isinstance(refused, ExecutionReported)
        assert (refused.kind, refused.leaves_quantity) == (kind, 10)
    assert [each.kind for each in await told(connection, knows, cancel(resting))] == [K.CANCELLED]
