"""The whole road of a tick on the real servers: Kafka, PostgreSQL, Redis and QuestDB."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.enums import Exchange, FeedSource, TickFault
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick, TickQuarantined
from libs.common.messaging.bulk import BulkPublisher
from libs.common.settings import KafkaSettings, MarketHours
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.live import LiveFeed
from services.marketdata.adapters.live.feed import Ticker
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.adapters.zerodha import KiteDialect
from services.marketdata.app import app
from services.marketdata.domain.ticks import opening, quote_of
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.streams import feed as feed_stream
from services.marketdata.streams.contracts import publish_contracts
from services.marketdata.streams.feed import CONFLATION, Pump
from tests.services.marketdata.leader import MarketRuntime, leading
from tests.services.marketdata.samples import OPEN, SBIN, listed, tick
from tests.services.marketdata.test_custom_symbols import INFY
from tests.services.marketdata.test_simulator import DAY, STEP, simulator


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[MarketRuntime]:
    async with leading() as runtime:
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


class Speaking(SimulatedFeed):
    """Says what it is told to."""

    said: Sequence[Tick] = ()

    def due(self, now: datetime) -> Sequence[Tick]:
        return self.said


CLOSE = (6 * 60 + 15) * 60.0
AROUND_A_SESSION = {
    "its first price": (-0.4, 0.2, 0.0, 1),
    "what was told before it": (-2.4, 0.3, -1.0, 0),
    "its last price": (CLOSE - 0.5, CLOSE + 1.5, CLOSE - 1, 1),
    "what came too late for its last candle": (CLOSE - 0.5, CLOSE + 4, CLOSE - 1, 0),
}


@pytest.mark.parametrize("what", AROUND_A_SESSION)
async def test_what_happened_in_a_session_is_of_it(what: str, runtime: MarketRuntime) -> None:
    """However short or long it was ago that the calendar was asked. Exchanges tell whole seconds, and what they tell
    takes its time to come.
    """
    asked, received, at, passed_on = AROUND_A_SESSION[what]
    runtime.memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    runtime.clock = FixedClock(OPEN + timedelta(seconds=asked))
    feed = Speaking(day=DAY, calendar=TradingCalendar(), hours=MarketHours.EXCHANGE, seed=1)
    pump, status = Pump(runtime, feed), runtime.memory.status
    feed.said = [tick(asked - 10)]
    pump.step(runtime.clock.now())
    before = status.ticks
    feed.said = [tick(at)]
    pump.step(OPEN + timedelta(seconds=received))
    assert status.ticks - before == passed_on


async def test_the_closing_auction_of_a_stock_with_derivatives_ticks_to_its_end(runtime: MarketRuntime) -> None:
    """Its last price is the closing price, at which its derivatives are settled. Other shares close before it."""
    memory = runtime.memory
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    future = listed("SBIN24NOV26FUT").model_copy(update={"exchange": Exchange.NFO, "spot": SBIN})
    memory.listed = {each.instrument: each for each in (listed("SBIN"), listed("INFY"), future)}
    feed = Speaking(day=DAY, calendar=TradingCalendar(), hours=MarketHours.EXCHANGE, seed=1)
    pump = Pump(runtime, feed)
    halves, ends = OPEN + timedelta(hours=6, minutes=15), OPEN + timedelta(hours=6, minutes=20)
    second = timedelta(seconds=1)
    for n, (at, late) in enumerate(((halves, STEP), (ends - second, second), (ends, STEP), (ends - STEP, 4 * second))):
        feed.said = [tick((at - OPEN).total_seconds(), 100 + n, instrument=each) for each in (SBIN, INFY)]
        pump.step(at + late)
    assert {name: tick.ltp for name, tick in memory.board.books.items()} == {SBIN: 101}


async def test_silence_of_what_nobody_needs_is_no_fault(runtime: MarketRuntime) -> None:
    """In the evening commodities trade; who carries shares alone hears nothing, and was not ready until midnight."""
    memory = runtime.memory
    memory.calendar = TradingCalendar(MarketHours.EXCHANGE)
    gold, shares = InstrumentId("MCX:GOLD04DEC26FUT"), listed()
    memory.listed = {SBIN: shares, gold: shares.model_copy(update={"instrument": gold, "exchange": Exchange.MCX})}
    feed = LiveFeed([Ticker(KiteDialect(Path("kite.json")), 1, {SBIN: 1, gold: 2})], runtime.clock, lambda _: True)
    pump = Pump(runtime, feed)
    evening = OPEN + timedelta(hours=9)
    for carried, is_ready in (((SBIN,), True), ((SBIN, gold), False)):
        feed.carry(carried)
        evening += timedelta(seconds=11)
        pump.step(evening)
        assert runtime.ready["feed"] is is_ready


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
        kafka = KafkaSettings(kafka_bootstrap=f"127.0.0.1:{mute.getsockname()[1]}")
        runtime.bulk = BulkPublisher(app, kafka, runtime.clock)
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
