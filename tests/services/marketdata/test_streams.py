"""The whole road of a tick on the real servers: Kafka, PostgreSQL, Redis and QuestDB."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis

from libs.common.clock import FixedClock
from libs.common.contracts.market import Quote, Tick
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from services.marketdata.streams import feed as feed_stream
from services.marketdata.streams import save_quotes
from services.marketdata.streams.feed import Pump
from services.marketdata.streams.series import _write
from tests.services.marketdata.samples import OPEN, SBIN, tick
from tests.services.marketdata.test_simulator import DAY, STEP, simulator

MarketRuntime = Runtime[ContractStore, MarketMemory]


@pytest.fixture
async def runtime() -> AsyncIterator[MarketRuntime]:
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        yield runtime


@pytest.fixture
def feed() -> SimulatedFeed:
    return simulator()


async def test_a_bad_tick_is_counted_and_goes_no_further(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    pump = Pump(runtime, feed)
    for each in (tick(1, 100), tick(2, -1), tick(1, 101)):
        pump._pass_on(each, OPEN)
    status = runtime.memory.status
    assert (status.ticks, status.refused) == (1, {"price": 1, "out_of_order": 1})
    assert list(runtime.memory.tick_rows) == [tick(1, 100)]


async def test_ticks_become_quotes_candles_and_rows(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    pump = Pump(runtime, feed)
    for n in range(640):
        pump.step(OPEN + n * STEP)
    memory = runtime.memory
    assert memory.status.ticks > 15_000
    assert len(memory.board.quotes) == len(feed.contracts)
    candles = {candle.instrument: candle for candle in memory.candle_rows}
    assert len(candles) == len(feed.contracts)
    prices = [row.ltp for row in memory.tick_rows if row.instrument == SBIN and row.at.minute == OPEN.minute]
    sbin = candles[SBIN]
    assert (sbin.open, sbin.high, sbin.low, sbin.close) == (prices[0], max(prices), min(prices), prices[-1])
    await memory.series.create_tables()
    while memory.tick_rows:
        await _write(memory)
    assert not memory.candle_rows


async def test_the_latest_quotes_are_in_redis_for_everyone(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    Pump(runtime, feed).step(OPEN)
    runtime.memory.board.conflate()
    writing = asyncio.create_task(save_quotes(runtime))
    redis = Redis.from_url(os.environ["REDIS_URL"])
    await redis.hdel("quotes", SBIN)
    saved = None
    for _ in range(50):
        if saved := await redis.hget("quotes", SBIN):
            break
        await asyncio.sleep(0.1)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    await redis.aclose()
    assert saved is not None
    assert Quote.model_validate_json(saved) == runtime.memory.board.quotes[SBIN]


async def test_while_redis_is_away_ticks_go_on_and_nothing_newer_is_lost(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    memory = runtime.memory
    here, memory.redis = memory.redis, Redis.from_url("redis://127.0.0.1:9")
    writing = asyncio.create_task(save_quotes(runtime))
    Pump(runtime, feed).step(OPEN)
    memory.board.conflate()
    await asyncio.sleep(0.6)
    assert not writing.done()
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    memory.redis = here
    assert len(memory.board.unsaved()) == len(feed.contracts)


async def test_rows_wait_while_questdb_is_away_and_the_oldest_go_first(runtime: MarketRuntime) -> None:
    memory = runtime.memory
    here, memory.series = memory.series, type(memory.series)("http://127.0.0.1:9")
    memory.tick_rows.append(tick(1))
    with pytest.raises(Exception, match=r"[Cc]onnect|refused|HTTP"):
        await _write(memory)
    assert list(memory.tick_rows) == [tick(1)]
    memory.series = here


async def test_outside_the_session_nothing_ticks_under_exchange_hours(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    pump = Pump(runtime, feed)
    pump.step(OPEN - 600 * STEP)
    assert runtime.memory.status.ticks == 0
    pump.step(OPEN + 20 * STEP)
    assert runtime.memory.status.ticks > 0


async def test_a_restart_publishes_only_differences(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    await feed_stream.publish_contracts(runtime, feed.contracts)
    async with runtime.transaction() as unit:
        assert await unit.store.changes(simulator().contracts) == []
    assert runtime.memory.listed.keys() == {contract.instrument for contract in feed.contracts}
    assert feed.details["day"] == DAY


class FallingSilent(SimulatedFeed):
    """Connected, and mute after its first word."""

    _spoken = False

    def due(self, now: datetime) -> Sequence[Tick]:
        spoken, self._spoken = self._spoken, True
        return [] if spoken else super().due(now)


async def test_openalgo_1396_a_feed_that_is_connected_but_mute_is_not_ready(runtime: MarketRuntime) -> None:
    pump = Pump(runtime, FallingSilent(day=DAY, calendar=TradingCalendar(), hours=MarketHours.CONTINUOUS, seed=1))
    assert not runtime.ready["feed"]
    pump.step(OPEN)
    assert runtime.ready["feed"]
    pump.step(OPEN + timedelta(seconds=9))
    assert runtime.ready["feed"]
    pump.step(OPEN + timedelta(seconds=11))
    assert not runtime.ready["feed"]


async def test_openalgo_969_silence_after_the_session_is_no_fault(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    pump = Pump(runtime, feed)
    pump.step(OPEN + timedelta(hours=6))
    assert runtime.ready["feed"]
    pump.step(OPEN + timedelta(hours=7))
    assert runtime.ready["feed"]
