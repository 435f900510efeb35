"""The tick road, on the real runtime and database."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.enums import ExecutionKind, OrderStatus, OrderType, Side
from libs.common.contracts.market import Tick
from libs.common.contracts.venue import VenueOrderRequested
from libs.common.testing.apps import opened
from services.walkforward import handlers, streams, timers
from services.walkforward.app import app
from services.walkforward.memory import LOOKS_KEPT
from tests.services.walkforward.running import Venue, handle, instance, match, row, see, set_clock
from tests.services.walkforward.venue import EVENING, SBIN, cancel, later, listed, modify, request, tick

BUY, SELL = Side.BUY, Side.SELL
LIMIT, SL_M = OrderType.LIMIT, OrderType.SL_M
pytestmark = pytest.mark.usefixtures("pool")


async def learn(heir: Venue) -> None:
    async with heir.transaction() as unit:
        await timers.learn_open_orders(unit.context)
    await match(heir)


async def test_a_resting_order_fills_when_a_tick_reaches_it() -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await see(venue, tick(ask=100.0))
        await handle(venue, asked)
        await see(venue, tick(bid=99.0, ask=99.05, at=later(1)))
        assert (await row(venue, asked)).status is OrderStatus.ACCEPTED
        await see(venue, tick(bid=98.9, ask=98.95, ask_quantity=60, at=later(2)))
        await see(venue, tick(bid=98.9, ask=98.95, ask_quantity=60, at=later(3)))
        filled = await row(venue, asked)
        assert (filled.status, filled.filled, filled.executions) == (OrderStatus.FILLED, 100, 3)
        assert venue.memory.watched() == 0


async def test_a_resting_order_fills_when_the_market_trades_through_it() -> None:
    """Of a dip between two of a broker's snapshots the last price tells, and the book has none of it left."""
    async with instance() as venue:
        bought, sold = request(BUY, 100, LIMIT, "99.00"), request(SELL, 100, LIMIT, "101.00")
        await see(venue, tick(100.0, bid=99.9, ask=100.0, volume=5_000))
        await handle(venue, bought)
        await handle(venue, sold)
        await see(venue, tick(99.0, bid=99.9, ask=100.0, volume=5_200, at=later(1)))
        assert (await row(venue, bought)).filled == 0, "others were first at that price"
        await see(venue, tick(98.95, bid=99.9, ask=100.0, volume=5_260, at=later(2)))
        await see(venue, tick(98.95, bid=99.9, ask=100.1, volume=5_260, at=later(3)))
        assert (await row(venue, bought)).filled == 60
        await see(venue, tick(98.9, bid=99.9, ask=100.0, volume=5_400, at=later(4)))
        await see(venue, tick(101.05, bid=99.9, ask=100.0, volume=6_000, at=later(5)))
        assert [(await row(venue, each)).status for each in (bought, sold)] == [OrderStatus.FILLED] * 2


async def test_an_order_gets_what_resting_orders_left_of_the_tick() -> None:
    async with instance() as venue:
        resting, newcomer = request(BUY, 60, LIMIT, "99.00"), request(BUY, 60)
        await see(venue, tick(ask=100.0))
        await handle(venue, resting)
        await see(venue, tick(ask=98.0, ask_quantity=100, at=later(1)))
        await handle(venue, newcomer)
        assert [(await row(venue, each)).filled for each in (resting, newcomer)] == [60, 40]


async def test_openalgo_1685_a_market_order_without_a_price_fills_on_the_first_tick() -> None:
    async with instance() as venue:
        asked = request(BUY)
        assert await handle(venue, asked) == [ExecutionKind.ACCEPTED]
        await see(venue, tick(100.0, at=later(5)))
        assert (await row(venue, asked)).status is OrderStatus.FILLED


@pytest.mark.parametrize(
    "asked",
    [request(BUY), request(BUY, 100, LIMIT, "120.00"), request(SELL, 100, SL_M, trigger="101.00")],
    ids=["market", "limit", "stop"],
)
async def test_an_order_that_waits_for_a_price_takes_none_from_hours_before_it(asked: VenueOrderRequested) -> None:
    """What a broker tells first of an instrument that nobody asked it for before is what traded last, whenever."""
    async with instance() as venue:
        assert await handle(venue, asked) == [ExecutionKind.ACCEPTED]
        await see(venue, tick(100.0, at=later(-7200)).model_copy(update={"received_at": later(1)}))
        waiting = await row(venue, asked)
        assert (waiting.status, waiting.filled, waiting.triggered) == (OrderStatus.ACCEPTED, 0, False)
        await see(venue, tick(100.0, at=later(2)))
        assert (await row(venue, asked)).status is OrderStatus.FILLED


async def test_a_tick_that_comes_while_the_order_commits_is_not_missed() -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await see(venue, tick(ask=100.0))
        async with venue.transaction() as unit:
            await unit.store.lock_for([asked])
            await handlers.take_order(asked, unit.context)
            await see(venue, tick(ask=98.0, at=later(1)))
            await see(venue, tick(ask=100.0, at=later(2)))
        await handlers.watch_committed([], venue)
        await match(venue)
        assert (await row(venue, asked)).status is OrderStatus.FILLED


async def test_nautilus_5000_fourteen_open_orders_survive_a_restart() -> None:
    limits = [request(BUY, 100, LIMIT, "99.00") for _ in range(13)]
    working = [*limits, request(SELL, 100, SL_M, trigger="95.00")]
    async with instance() as before:
        await see(before, tick(ask=100.0))
        for each in working:
            await handle(before, each)
    async with instance(later(10)) as after:
        assert after.memory.watched() == 14
        await see(after, tick(100.0, bid=99.9, ask=100.0, at=later(10)))
        assert [(await row(after, each)).status for each in limits] == [OrderStatus.ACCEPTED] * 13
        await see(after, tick(94.0, bid=94.0, ask=94.05, at=later(11)))
        assert [(await row(after, each)).status for each in working] == [OrderStatus.FILLED] * 14


async def test_a_start_decides_only_on_the_orders_that_ticks_concern() -> None:
    """However many rest: 8,700 of them were decided on at once, and the process stood still for 12 s."""
    far = [request(BUY, 100, LIMIT, "80.00") for _ in range(20)]
    near = request(BUY, 100, LIMIT, "99.00")
    async with instance() as before:
        await see(before, tick(ask=100.0))
        for each in (*far, near):
            await handle(before, each)
    async with opened(app, clock=FixedClock(later(10))) as after:  # ticks come before the contracts
        dip = tick(98.0, bid=97.9, ask=98.0, at=later(9))
        await streams.see_ticks([dip, tick(100.0, bid=99.9, ask=100.0, at=later(10))], after.memory)
        assert not after.memory.is_stirred
        after.memory.learn(listed())
        assert after.memory.watched() == 21
        [(_, stir)] = (await after.memory.stirred(after.clock, 200)).items()
        assert stir.order_ids == {near.order_id}
        await streams.decide({SBIN: stir}, after)
        assert (await row(after, near)).status is OrderStatus.FILLED
        assert not after.memory.is_stirred


@pytest.mark.parametrize("steps", range(5))
async def test_whoever_waits_for_ticks_ends_when_told_though_one_comes_in_that_very_moment(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While orders waited for their latency to be over it went on, and its process stood until it was killed: wait_for
    of Python 3.11 loses such a cancellation.
    """
    monkeypatch.setenv("WALKFORWARD_LATENCY_MS", "5000")
    async with instance() as venue:
        await see(venue, tick(ask=100.0))
        await handle(venue, request(BUY, 100, LIMIT, "99.00"))
        await see(venue, tick(ask=100.0, at=later(6)))
        await handle(venue, request(BUY, 100, LIMIT, "98.00"))
        waiting = asyncio.create_task(venue.memory.stirred(venue.clock, 200))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        venue.memory.see(tick(bid=99.0, ask=99.05, at=later(7)))
        for _ in range(steps):
            await asyncio.sleep(0)
        was_waiting = waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() is was_waiting


async def test_ticks_read_again_after_a_restart_do_not_trigger_a_younger_stop() -> None:
    stop = request(SELL, 100, SL_M, trigger="95.00")
    async with instance() as before:
        await see(before, tick(94.0, at=later(-5)), tick(100.0))
        await handle(before, stop)
    async with instance(later(5)) as after:
        await see(after, tick(94.0, at=later(-5)), tick(100.0))
        assert not (await row(after, stop)).triggered


async def test_openalgo_932_two_instances_that_see_the_same_tick_fill_an_order_once() -> None:
    asked = [request(BUY, 100, LIMIT, "99.00") for _ in range(20)]
    async with instance() as one, instance() as other:
        for venue in (one, other):
            await see(venue, tick(ask=100.0))
        for each in asked:
            await handle(one, each)
        async with other.transaction() as unit:
            await timers.learn_open_orders(unit.context)
        await match(other)
        assert one.memory.watched() == other.memory.watched() == 20
        thin = tick(ask=98.0, ask_quantity=30, at=later(1))
        await asyncio.gather(see(one, thin), see(other, thin))
        rows = [await row(one, each) for each in asked]
        assert max(each.filled for each in rows) == 30
        deep = tick(ask=98.0, at=later(2))
        await asyncio.gather(see(one, deep), see(other, deep))
        rows = [await row(one, each) for each in asked]
        assert [each.filled for each in rows] == [100] * 20
        assert all(each.executions <= 3 for each in rows)


async def test_openalgo_932_a_tick_at_the_moment_of_arrival_fills_an_order_once() -> None:
    async with instance() as venue:
        for n in range(30):
            asked, moment = request(BUY, 10), later(n)
            set_clock(venue, moment)
            await asyncio.gather(handle(venue, asked), see(venue, tick(100.0, at=moment)))
            await match(venue)
            filled = await row(venue, asked)
            assert (filled.filled, filled.executions) == (10, 2)


async def test_a_cancel_and_a_tick_race_and_one_of_them_wins() -> None:
    async with instance() as venue:
        await see(venue, tick(ask=100.0))
        for n in range(1, 31):
            asked = request(BUY, 10, LIMIT, "99.00")
            await see(venue, tick(ask=100.0, at=later(2 * n)))
            await handle(venue, asked)
            crossing = tick(ask=98.0, at=later(2 * n + 1))
            said, _ = await asyncio.gather(handle(venue, cancel(asked)), see(venue, crossing))
            await match(venue)
            final = await row(venue, asked)
            won = said == [ExecutionKind.CANCELLED]
            assert (final.status, final.filled) == ((OrderStatus.CANCELLED, 0) if won else (OrderStatus.FILLED, 10))
            assert venue.memory.watched() == 0


async def test_an_order_whose_latency_is_over_meets_the_market_of_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WALKFORWARD_LATENCY_MS", "200")
    async with instance() as venue:
        asked = request(BUY)
        await see(venue, tick(100.0))
        await handle(venue, asked)
        await see(venue, tick(105.0, at=later(0.1)))
        assert (await row(venue, asked)).filled == 0
        set_clock(venue, later(0.2))
        await streams.decide(await venue.memory.stirred(venue.clock, 200), venue)
        filled = await row(venue, asked)
        assert (filled.filled, filled.seen) == (100, later(0.1))


async def test_an_order_whose_latency_is_over_does_not_believe_an_old_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALKFORWARD_LATENCY_MS", "200")
    async with instance() as venue:
        asked = request(BUY)
        await see(venue, tick(100.0, at=later(-120)))
        await handle(venue, asked)
        set_clock(venue, later(0.2))
        await streams.decide(await venue.memory.stirred(venue.clock, 200), venue)
        assert (await row(venue, asked)).filled == 0


async def test_an_instance_takes_over_the_orders_of_one_that_died() -> None:
    asked = request(BUY, 100, LIMIT, "99.00")
    async with instance() as heir:
        async with instance() as deceased:
            await see(deceased, tick(ask=100.0))
            await handle(deceased, asked)
        await see(heir, tick(ask=98.0, at=later(3)))
        await learn(heir)
        assert (await row(heir, asked)).status is OrderStatus.FILLED


async def test_an_instance_takes_over_an_order_as_the_one_that_died_had_changed_it() -> None:
    """A stop that is trailed: the heir knew it already, at the trigger that it had before."""
    asked = request(SELL, 100, SL_M, trigger="90.00")
    async with instance() as heir:
        async with instance() as deceased:
            await see(deceased, tick(100.0))
            await see(heir, tick(100.0))
            await handle(deceased, asked)
            await learn(heir)
            await handle(deceased, modify(asked, 100, SL_M, trigger="95.00"))
        await learn(heir)
        await see(heir, tick(94.0, bid=93.9, ask=94.0, at=later(3)))
        assert (await row(heir, asked)).status is OrderStatus.FILLED


async def test_an_instance_forgets_the_orders_that_another_one_ended() -> None:
    """It watched for ever whatever another had taken and no tick reached."""
    ended, resting = [request(BUY, 100, LIMIT, "90.00") for _ in range(3)], request(BUY, 100, LIMIT, "90.00")
    async with instance() as one, instance() as other:
        await see(one, tick(ask=100.0))
        for each in (*ended, resting):
            await handle(one, each)
        await learn(other)
        assert other.memory.watched() == 4
        for each in ended:
            await handle(one, cancel(each))
        async with other.transaction() as unit:
            await timers.forget_finished_orders(unit.context)
        assert other.memory.watched() == 1
        await see(other, tick(ask=89.0, at=later(1)))
        assert (await row(other, resting)).status is OrderStatus.FILLED


async def test_day_orders_expire_at_the_session_end() -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await see(venue, tick(ask=100.0))
        await handle(venue, asked)
        ends = (await row(venue, asked)).expires_at
        set_clock(venue, ends)
        async with venue.transaction() as unit:
            (expired,) = await timers.expire_orders(unit.context)
        assert (expired.kind, expired.reason) == (ExecutionKind.EXPIRED, "the session is over")
        assert venue.memory.watched() == 0
        await see(venue, tick(ask=90.0, at=ends + timedelta(seconds=1)))
        assert (await row(venue, asked)).status is OrderStatus.EXPIRED


async def test_continuous_hours_end_at_midnight_in_india() -> None:
    async with instance(EVENING) as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await handle(venue, asked)
        assert (await row(venue, asked)).expires_at.isoformat() == "2026-11-23T18:30:00+00:00"


async def test_a_crossing_is_not_missed_when_a_commit_takes_long() -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await see(venue, tick(ask=100.0))
        async with venue.transaction() as unit:
            await unit.store.lock_for([asked])
            await handlers.take_order(asked, unit.context)
            await streams.see_ticks(dip_and_back(), venue.memory)
        set_clock(venue, later(200))
        await handlers.watch_committed([], venue)
        await match(venue)
        assert (await row(venue, asked)).filled == 100


async def test_a_crossing_is_not_missed_when_the_venue_falls_far_behind() -> None:
    async with instance() as venue:
        asked, hungry = request(BUY, 100, LIMIT, "99.00"), request(BUY, 100)
        await see(venue, tick(ask=100.0, ask_quantity=10))
        await handle(venue, hungry)
        await handle(venue, asked)
        await see(venue, *dip_and_back())
        assert [(await row(venue, each)).filled for each in (asked, hungry)] == [100, 100]


async def test_a_crossing_is_not_missed_when_the_database_goes_too_while_the_venue_falls_far_behind(
    pool: asyncpg.Pool,
) -> None:
    async with instance() as venue:
        asked, hungry = request(BUY, 100, LIMIT, "99.00"), request(BUY, 100)
        await see(venue, tick(ask=100.0, ask_quantity=10))
        await handle(venue, hungry)
        await handle(venue, asked)
        set_clock(venue, later(400))
        await streams.see_ticks(dip_and_back(), venue.memory)
        await pool.execute("ALTER TABLE orders ADD CONSTRAINT nothing_fills CHECK (filled <= 10)")
        stirs = await venue.memory.stirred(venue.clock, 200)
        await streams.see_ticks([tick(ask=100.0, at=later(200 + n)) for n in range(2 * LOOKS_KEPT)], venue.memory)
        with pytest.raises(asyncpg.CheckViolationError):
            await streams.decide(stirs, venue)
        venue.memory.stir_again(stirs)
        await pool.execute("ALTER TABLE orders DROP CONSTRAINT nothing_fills")
        await match(venue)
        assert [(await row(venue, each)).filled for each in (asked, hungry)] == [100, 100]
        assert (await row(venue, hungry)).seen == later(200 + LOOKS_KEPT), "the newest of those that were folded"


def dip_and_back() -> list[Tick]:
    back = [tick(ask=100.0, at=later(2 + n)) for n in range(3 * LOOKS_KEPT)]
    return [tick(ask=98.0, ask_quantity=100, at=later(1)), *back]


async def test_work_that_failed_is_done_again(pool: asyncpg.Pool) -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await see(venue, tick(ask=100.0))
        await handle(venue, asked)
        set_clock(venue, later(1))
        venue.memory.see(tick(ask=98.0, ask_quantity=100, at=later(1)))
        stirs = await venue.memory.stirred(venue.clock, 200)
        await pool.execute("ALTER TABLE orders ADD CONSTRAINT nothing_fills CHECK (filled = 0)")
        with pytest.raises(asyncpg.CheckViolationError):
            await streams.decide(stirs, venue)
        await pool.execute("ALTER TABLE orders DROP CONSTRAINT nothing_fills")
        venue.memory.stir_again(stirs)
        await match(venue)
        assert (await row(venue, asked)).filled == 100


async def test_the_tick_road_runs_by_itself() -> None:
    async with instance() as venue:
        asked = request(BUY, 100, LIMIT, "99.00")
        await streams.see_ticks([tick(ask=100.0)], venue.memory)
        await handle(venue, asked)
        road = asyncio.create_task(streams.match_resting(venue))
        set_clock(venue, later(1))
        await streams.see_ticks([tick(ask=98.0, at=later(1), instrument=SBIN)], venue.memory)
        async with asyncio.timeout(20):
            while not (await row(venue, asked)).filled:
                await asyncio.sleep(0.02)
        road.cancel()
        await asyncio.wait([road])
        assert (await row(venue, asked)).price == Decimal("99.00")
        assert (await row(venue, asked)).filled == 100
