"""The whole road of a tick on the real servers: Kafka, PostgreSQL, Redis and QuestDB."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiokafka import AIOKafkaConsumer
from redis.asyncio import Redis

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.enums import FeedSource, TickFault
from libs.common.contracts.market import Quote, Tick, TickQuarantined
from libs.common.messaging.bulk import BulkPublisher
from libs.common.messaging.lead import Role
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.testing.caches import RedisOfOurOwn
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.app import app
from services.marketdata.domain.ticks import opening, quote_of
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.store import ContractStore
from services.marketdata.streams import feed as feed_stream
from services.marketdata.streams import find_lost_quotes, save_quotes
from services.marketdata.streams.contracts import publish_contracts
from services.marketdata.streams.feed import CONFLATION, Pump
from tests.services.marketdata.samples import OPEN, SBIN, listed, tick
from tests.services.marketdata.test_simulator import DAY, STEP, simulator

MarketRuntime = Runtime[ContractStore, MarketMemory]


@pytest.fixture
async def runtime() -> AsyncIterator[MarketRuntime]:
    """The leader, with quotes in a Redis database of its own, so that no other test's marketdata goes on from them."""
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        runtime.lead.role = Role.LEADER
        await runtime.memory.redis.aclose()
        runtime.memory.redis = Redis.from_url(urlsplit(os.environ["REDIS_URL"])._replace(path="/15").geturl())
        await runtime.memory.redis.flushdb()
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


BAD = {
    "zero": (TickFault.PRICE, tick(60, 0)),
    "negative": (TickFault.PRICE, tick(60, -7)),
    "crossed": (TickFault.CROSSED, tick(60).model_copy(update={"bid": 100.1, "ask": 100.0})),
    "out of order": (TickFault.OUT_OF_ORDER, tick(29)),
    "the same again": (TickFault.OUT_OF_ORDER, tick(30)),
    "above the circuit band": (TickFault.BAND, tick(60, 110.05)),
    "below the circuit band": (TickFault.BAND, tick(60, 89.95)),
    "from yesterday": (TickFault.OLD_DAY, tick(-86_400)),
    "from the future": (TickFault.FUTURE, tick(60).model_copy(update={"received_at": OPEN})),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_tick_is_counted_and_quarantined_and_not_passed_on(
    kind: str, runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    fault, bad = BAD[kind]
    memory = runtime.memory
    memory.board.begin_day(OPEN - timedelta(hours=9, minutes=15), {})
    memory.board.limit({SBIN: (90.0, 110.0)})
    pump = Pump(runtime, feed)
    topics_read = (topics.QUARANTINE.name, topics.TICKS.name)
    reader = AIOKafkaConsumer(*topics_read, bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"])
    await reader.start()
    try:
        await reader.seek_to_end()
        for each in (tick(30), bad, tick(90, 100.05)):
            pump._pass_on(each, OPEN)
        records = [await asyncio.wait_for(reader.getone(), 10) for _ in range(3)]
    finally:
        await reader.stop()
    kept_apart = [r.value or b"" for r in records if r.topic == topics.QUARANTINE.name]
    passed_on = [r.value or b"" for r in records if r.topic == topics.TICKS.name]
    [quarantined] = [TickQuarantined.model_validate_json(value) for value in kept_apart]
    assert (quarantined.fault, quarantined.tick) == (fault, bad)
    assert [Tick.model_validate_json(value) for value in passed_on] == [tick(30), tick(90, 100.05)]
    assert memory.status.refused == {fault: 1}
    assert memory.status.ticks == 2
    assert memory.board.conflate()[0].ltp == 100.05


async def test_every_instrument_of_the_feed_has_a_quote_within_a_minute(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    pump = Pump(runtime, feed)
    for n in range(640):
        pump.step(OPEN + n * STEP)
    memory = runtime.memory
    assert memory.status.ticks > 15_000
    assert len(memory.board.quotes) == len(feed.contracts)


async def test_the_latest_quotes_are_in_redis_for_everyone(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    memory = runtime.memory
    Pump(runtime, feed).step(OPEN)
    memory.board.conflate()
    writing = asyncio.create_task(save_quotes(runtime))
    saved: list[Quote] = []
    for _ in range(200):
        if saved := await memory.saved_quotes():
            break
        await asyncio.sleep(0.1)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert {quote.instrument: quote for quote in saved} == memory.board.quotes


async def test_who_hands_over_leaves_its_newest_quotes_in_redis(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    memory = runtime.memory
    writing = asyncio.create_task(save_quotes(runtime))
    await asyncio.sleep(0)
    Pump(runtime, feed).step(OPEN)
    memory.board.conflate()
    told = dict(memory.board.quotes)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert {quote.instrument: quote for quote in await memory.saved_quotes()} == told


class AnswersAtOnce:
    """A Redis that answers in the moment in which its caller is cancelled. The client waits by `asyncio.wait_for`,
    which until Python 3.12 returns the answer then, and the cancellation is lost.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.asked = asyncio.Event()

    async def hset(self, name: str, items: list[str]) -> None:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        await self._redis.hset(name, items=items)

    def __getattr__(self, name: str) -> object:
        return getattr(self._redis, name)


async def test_who_hands_over_ends_although_redis_answers_in_that_moment(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    """It was seen once: the process did not end its tasks in time, and went without its last words."""
    memory = runtime.memory
    redis = AnswersAtOnce(memory.redis)
    memory.redis = redis  # type: ignore[assignment]
    Pump(runtime, feed).step(OPEN)
    memory.board.conflate()
    writing = asyncio.create_task(save_quotes(runtime))
    await redis.asked.wait()
    writing.cancel()
    done, _ = await asyncio.wait([writing], timeout=3)
    writing.cancel()
    assert done == {writing}
    assert {quote.instrument for quote in await memory.saved_quotes()} == set(memory.board.quotes)


@contextlib.asynccontextmanager
async def saving(runtime: MarketRuntime) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(save_quotes(runtime)), asyncio.create_task(find_lost_quotes(runtime))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_saved(memory: MarketMemory) -> None:
    """All that is on the board, as it is there."""
    async with asyncio.timeout(20):
        while {quote.instrument: quote for quote in await memory.saved_quotes()} != memory.board.quotes:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["restarted", "emptied"])
async def test_a_redis_that_lost_its_data_has_every_quote_again_though_nothing_ticks(
    how: str, runtime: MarketRuntime, feed: SimulatedFeed, tmp_path: Path
) -> None:
    """It stayed empty until the opening, and whoever was started meanwhile knew no price. They are as old as before."""
    memory = runtime.memory
    async with RedisOfOurOwn(tmp_path) as redis:
        await memory.redis.aclose()
        memory.redis = Redis.from_url(redis.url)
        Pump(runtime, feed).step(OPEN)
        memory.board.conflate()
        assert {quote.at for quote in memory.board.quotes.values()} == {OPEN}
        interest = dict(memory.board.earlier_oi.known)
        async with saving(runtime):
            await until_saved(memory)
            if how == "restarted":
                await redis.kill()
                await redis.start()
            else:
                await memory.redis.flushdb()
            await until_saved(memory)
        memory.board = QuoteBoard()
        memory.board.follow(await memory.saved_quotes())
        assert memory.board.earlier_oi.known == interest
        assert len(interest) == len(feed.contracts)


async def test_a_redis_that_lost_its_data_has_those_too_that_do_not_tick_when_others_do(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    memory = runtime.memory
    Pump(runtime, feed).step(OPEN)
    memory.board.conflate()
    async with saving(runtime):
        await until_saved(memory)
        await memory.redis.flushdb()
        assert memory.board.take(tick(60, memory.board.quotes[SBIN].ltp)) is None
        memory.board.conflate()
        await until_saved(memory)


@pytest.mark.parametrize("role", [Role.STANDBY, Role.UNKNOWN])
async def test_who_does_not_lead_writes_nothing_to_redis(
    role: Role, runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    runtime.lead.role = role
    Pump(runtime, feed).step(OPEN)
    runtime.memory.board.conflate()
    writing = asyncio.create_task(save_quotes(runtime))
    await asyncio.sleep(0.6)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    assert await runtime.memory.saved_quotes() == []


async def test_a_restart_takes_up_prices_and_volumes(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    memory = runtime.memory
    pump = Pump(runtime, feed)
    for n in range(100):
        pump.step(OPEN + n * STEP)
    quotes = {quote.instrument: quote for quote in memory.board.quotes.values()}
    memory.board = QuoteBoard()
    again = simulator(seed=5)
    now = OPEN + timedelta(seconds=60)
    await feed_stream.go_on(memory, again, list(quotes.values()), now)
    Pump(runtime, again).step(now)
    for instrument, quote in memory.board.quotes.items():
        assert quote.open == quotes[instrument].open
        assert quote.volume >= quotes[instrument].volume


async def test_quotes_of_another_feed_or_of_the_future_are_not_taken_up(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    memory = runtime.memory
    quote = quote_of(tick(0, 5000.0), opening(5000.0, 5000.0))
    replayed = quote.model_copy(update={"source": FeedSource.REPLAYED})
    for strange in (replayed, quote.model_copy(update={"at": OPEN + timedelta(hours=1)})):
        await memory.save_quotes({strange.instrument: strange})
        await feed_stream.go_on(memory, feed, [strange], OPEN)
        assert memory.board.quotes == {}
        assert await memory.saved_quotes() == []


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


async def test_outside_the_session_nothing_ticks_under_exchange_hours(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    pump = Pump(runtime, feed)
    pump.step(OPEN - 600 * STEP)
    assert runtime.memory.status.ticks == 0
    pump.step(OPEN + 20 * STEP)
    assert runtime.memory.status.ticks > 0


async def test_what_happens_once_the_session_is_over_is_not_of_it(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    """However short it was ago that the calendar was asked. Derivatives trade for ten minutes more."""
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    closes = OPEN + timedelta(hours=6, minutes=15)
    pump = Pump(runtime, feed)
    for n in range(-2, 6):
        pump.step(closes + n * STEP)
    newest = {name.partition(":")[0]: tick.at for name, tick in runtime.memory.board.books.items() if tick.at >= closes}
    assert set(newest) == {"NFO"}


async def test_what_the_feed_lists_can_be_asked_for_and_what_left_it_cannot(runtime: MarketRuntime) -> None:
    """Names of its own: the topic is shared with every other test, and must not hear that SBIN is gone."""
    await runtime.pool.execute("DELETE FROM contracts")
    name = f"T{ids.new_id().hex[-10:].upper()}"
    first, second = listed(f"{name}A"), listed(f"{name}B")
    await publish_contracts(runtime, [first, second])
    assert runtime.memory.listed == {first.instrument: first, second.instrument: second}
    await publish_contracts(runtime, [first])
    assert runtime.memory.listed == {first.instrument: first}
    await runtime.pool.execute("DELETE FROM contracts")


async def becomes_ready(runtime: MarketRuntime, pump: Pump, at: datetime) -> None:
    async with asyncio.timeout(10):
        while not runtime.ready["feed"]:
            pump.step(at)
            await asyncio.sleep(0.01)


async def test_a_feed_is_ready_once_kafka_has_its_first_quotes(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    """`make up` called all ready while the first quotes still waited for a connection, and nobody knew a price."""
    pump = Pump(runtime, feed)
    reader = AIOKafkaConsumer(topics.QUOTES.name, bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"])
    await reader.start()
    try:
        await reader.seek_to_end()
        pump.step(OPEN)
        assert not runtime.ready["feed"], "nothing was told yet"
        await becomes_ready(runtime, pump, OPEN + CONFLATION)
        [end] = (await reader.end_offsets(reader.assignment())).values()
        [position] = [await reader.position(partition) for partition in reader.assignment()]
        assert end > position
    finally:
        await reader.stop()


async def test_a_feed_whose_quotes_kafka_does_not_take_is_not_ready(
    runtime: MarketRuntime, feed: SimulatedFeed
) -> None:
    answering = runtime.bulk
    with socket.create_server(("127.0.0.1", 0)) as mute:
        runtime.bulk = BulkPublisher(app, f"127.0.0.1:{mute.getsockname()[1]}", runtime.clock)
        pump = Pump(runtime, feed)
        for n in range(30):
            pump.step(OPEN + n * CONFLATION)
            await asyncio.sleep(0.01)
        runtime.bulk = answering
    assert runtime.memory.status.ticks > 0
    assert not runtime.ready["feed"]


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
    await becomes_ready(runtime, pump, OPEN + CONFLATION)
    pump.step(OPEN + timedelta(seconds=9))
    assert runtime.ready["feed"]
    pump.step(OPEN + timedelta(seconds=11))
    assert not runtime.ready["feed"]


async def test_openalgo_969_silence_after_the_session_is_no_fault(runtime: MarketRuntime, feed: SimulatedFeed) -> None:
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    pump = Pump(runtime, feed)
    await becomes_ready(runtime, pump, OPEN + timedelta(hours=6))
    pump.step(OPEN + timedelta(hours=7))
    assert runtime.ready["feed"]
