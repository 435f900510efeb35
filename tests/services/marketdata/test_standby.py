"""Two instances of marketdata on real servers: one has the feed, the other answers like it and goes on where it was."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from libs.common import http, ids
from libs.common.clock import FixedClock, SystemClock
from libs.common.contracts import topics
from libs.common.contracts.enums import PriceNeed
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import PricesRequested, Quote, QuotesConflated, Tick
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.envelope import record
from libs.common.messaging.lead import Role
from libs.common.messaging.streams import follow
from libs.common.runtime import Runtime
from libs.common.testing.apps import opened
from libs.common.testing.delivery import envelope_of
from services.marketdata.app import app
from services.marketdata.domain import custom
from services.marketdata.domain.ticks import opening, quote_of
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from services.marketdata.streams import stand_by
from services.marketdata.streams.contracts import publish_contracts
from services.marketdata.streams.feed import Pump, go_on
from tests.common.ledger import publish
from tests.services.marketdata.leading import WITHOUT_CANDLES
from tests.services.marketdata.samples import OPEN, listed, tick
from tests.services.marketdata.test_custom_symbols import spread
from tests.services.marketdata.test_simulator import simulator

MarketRuntime = Runtime[ContractStore, MarketMemory]


@contextlib.asynccontextmanager
async def quotes_of_our_own(runtime: MarketRuntime) -> AsyncIterator[MarketRuntime]:
    """In a Redis database that no other test's marketdata goes on from."""
    await runtime.memory.redis.aclose()
    runtime.memory.redis = Redis.from_url(urlsplit(os.environ["REDIS_URL"])._replace(path="/13").geturl())
    yield runtime


class Instance:
    """One of several, as the runtime would have it, without its HTTP listener; with a group of writers to itself, or
    without what writes candles.
    """

    def __init__(self, number: int, writers: str | None = None) -> None:
        self._number = number
        self._writers = writers
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> "Instance":
        service = app if self._writers else WITHOUT_CANDLES
        runtime: MarketRuntime = await self._stack.enter_async_context(opened(service))
        if self._writers:
            runtime.memory.writer_group = self._writers
        runtime.settings = runtime.settings.model_copy(update={"instance_id": str(self._number)})
        await self._stack.enter_async_context(quotes_of_our_own(runtime))
        self.runtime, self.memory = runtime, runtime.memory
        self._consumer = Consumer(runtime)
        self._reading = asyncio.create_task(self._consumer.run())
        self._stack.push_async_callback(self._stop)
        transport = httpx.ASGITransport(http.build_app(runtime))
        token = {"x-internal-token": runtime.settings.internal_token}
        self._client = httpx.AsyncClient(transport=transport, base_url="http://test/internal", headers=token)
        return self

    async def stop(self) -> None:
        await self._stack.aclose()

    async def get(self, path: str) -> Any:
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def leads(self) -> bool:
        return self.runtime.lead.leads() and self.runtime.ready["feed"] and self.memory.status.ticks > 0

    @property
    def stands_by(self) -> bool:
        return self.runtime.lead.role is Role.STANDBY and self.runtime.ready["feed"]

    async def _stop(self) -> None:
        self.runtime.stopping.set()
        await self._consumer.stop()
        self._reading.cancel()
        await asyncio.wait([self._reading])


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def two(pool: asyncpg.Pool) -> AsyncIterator[tuple[Instance, Instance]]:
    """The first leads, and nothing is listed that others left behind."""
    async with Redis.from_url(urlsplit(os.environ["REDIS_URL"])._replace(path="/13").geturl()) as redis:
        await redis.flushdb()
    one = await Instance(0).start()
    try:
        await until(lambda: one.leads)
        other = await Instance(1).start()
        try:
            await until(lambda: other.stands_by)
            yield one, other
        finally:
            await other.stop()
    finally:
        await one.stop()


@contextlib.asynccontextmanager
async def hearing(*heard: str) -> AsyncIterator[Callable[[], Awaitable[list[ConsumerRecord]]]]:
    """What is said on these topics from now on, whenever asked."""
    reader = AIOKafkaConsumer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"])
    await reader.start()
    partitions = [TopicPartition(t.name, n) for t in (topics.QUOTES, topics.TICKS) for n in range(t.partitions)]
    reader.assign([each for each in partitions if each.topic in heard])
    await reader.seek_to_end()

    async def read() -> list[ConsumerRecord]:
        found: list[ConsumerRecord] = []
        for partition, end in (await reader.end_offsets(list(reader.assignment()))).items():
            while await reader.position(partition) < end:
                records = await reader.getmany(timeout_ms=200)
                found += [record for some in records.values() for record in some]
        return found

    try:
        yield read
    finally:
        await reader.stop()


async def test_the_standby_answers_like_the_leader(two: tuple[Instance, Instance]) -> None:
    one, other = two
    await until(lambda: all(each.memory.status.last_tick_at for each in two))
    for instance, role in ((one, "leader"), (other, "standby")):
        status = await instance.get("/status")
        assert (status["role"], status["feed"], status["contracts"]) == (role, "simulator", len(one.memory.listed))
        assert status["last_tick_age_s"] < 5
    assert other.memory.listed.keys() == one.memory.listed.keys()
    await until(lambda: other.memory.board.quotes.keys() >= one.memory.board.quotes.keys())
    here, there = [await each.get("/option-chain/NIFTY?strikes=3") for each in two]
    assert [row["strike"] for row in there["rows"]] == [row["strike"] for row in here["rows"]]
    assert all(row["call"]["ltp"] > 0 and row["put"]["ltp"] > 0 for row in there["rows"])
    assert await other.get("/option-chain/NIFTY/expiries") == await one.get("/option-chain/NIFTY/expiries")


async def test_the_standby_shows_the_books_that_the_leader_told(two: tuple[Instance, Instance]) -> None:
    one, other = two
    future = next(name for name in one.memory.listed if name.startswith("NFO:NIFTY") and name.endswith("FUT"))
    began = SystemClock().now()
    await until(lambda: (book := other.memory.book(future)) is not None and book.at >= began)  # the log has older ones
    there = await other.get(f"/depth/{future}")
    assert there["levels"] == 5
    assert there["age_s"] < 5
    assert there["bids"][0]["price"] < there["asks"][0]["price"]


async def test_the_successor_of_one_that_hands_over_goes_on_where_it_was(two: tuple[Instance, Instance]) -> None:
    one, other = two
    async with hearing(topics.QUOTES.name) as read:
        await asyncio.sleep(1)
        await one.stop()
        saved = {quote.instrument: quote for quote in await other.memory.saved_quotes()}
        last = dict(one.memory.board.quotes)
        assert other.runtime.ready["feed"]
        await until(lambda: other.leads)
        assert other.runtime.ready["feed"]
        await asyncio.sleep(1)
        told = [QuotesConflated.model_validate_json(heard.value) for heard in await read()]
    assert saved.keys() == last.keys()
    # By the time that all of `one` is closed its successor may have saved what is newer
    assert [quote for name, quote in saved.items() if quote != last[name] and quote.at <= last[name].at] == []
    newest: dict[InstrumentId, Quote] = {}
    for quote in (quote for each in told for quote in each.quotes):
        before = newest.setdefault(quote.instrument, quote)
        assert (quote.at, quote.volume, quote.open) >= (before.at, before.volume, before.open)
        newest[quote.instrument] = quote
    assert (await other.get("/status"))["role"] == "leader"


async def test_never_do_two_feeds_tick_at_once(two: tuple[Instance, Instance]) -> None:
    one, other = two
    async with hearing(topics.TICKS.name) as read:
        await asyncio.sleep(1)
        assert other.memory.status.ticks == 0
        assert not other.memory.board.books
        await one.stop()
        counted = one.memory.status.ticks
        await until(lambda: other.leads)
        ticks = [Tick.model_validate_json(heard.value) for heard in await read()]
    assert one.memory.status.ticks == counted
    of_each: dict[InstrumentId, list[Tick]] = {}
    for each in ticks:
        of_each.setdefault(each.instrument, []).append(each)
    for heard in of_each.values():
        assert [each.at for each in heard] == sorted({each.at for each in heard})


async def test_what_is_new_in_the_master_can_be_asked_of_the_standby(two: tuple[Instance, Instance]) -> None:
    one, other = two
    basket = spread(
        *((name, "1") for name in list(one.memory.board.quotes)[:2]), symbol=f"B{ids.new_id().hex[-8:].upper()}"
    )
    async with one.runtime.transaction() as unit:
        await unit.store.custom_symbols.save(basket, 1, unit.now)
        unit.say(custom.listed(basket))
    await until(lambda: basket.instrument in other.memory.listed)


@pytest.fixture
async def runtime(pool: asyncpg.Pool) -> AsyncIterator[MarketRuntime]:
    """One that stands by, by itself."""
    async with opened(app, clock=FixedClock(OPEN)) as opened_, quotes_of_our_own(opened_) as runtime:
        await runtime.memory.redis.flushdb()
        runtime.lead.role = Role.STANDBY
        yield runtime


@contextlib.asynccontextmanager
async def standing_by(runtime: MarketRuntime) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(stand_by(runtime)), asyncio.create_task(follow(runtime))]
    try:
        await until(lambda: runtime.ready["feed"])
        yield
    finally:
        for task in tasks:
            task.cancel()
            await asyncio.wait([task])


def told(seconds: float, ltp: float, instrument: InstrumentId) -> Quote:
    return quote_of(tick(seconds, ltp, int(seconds) + 100, instrument), opening(99.0, 98.0).with_price(ltp))


async def test_what_was_told_last_is_read_before_one_leads(runtime: MarketRuntime) -> None:
    """Kafka is newer than Redis after a kill."""
    contract = listed(f"T{ids.new_id().hex[-10:].upper()}")
    name = contract.instrument
    await publish_contracts(runtime, [contract])
    await runtime.memory.save_quotes({name: told(-9, 100, name)})
    async with standing_by(runtime):
        await until(lambda: name in runtime.memory.board.quotes)
        runtime.publish_bulk(QuotesConflated(shard="all", at=OPEN, quotes=(told(-1, 101, name),)))
        await runtime.bulk.flush(5)
    assert runtime.memory.board.quotes[name] == told(-1, 101, name)


async def test_a_successor_takes_up_the_newest_of_kafka_and_redis(runtime: MarketRuntime) -> None:
    feed = simulator()
    heard, saved = (contract.instrument for contract in feed.contracts[:2])
    memory = runtime.memory
    memory.board.follow([told(-1, 101, heard), told(-9, 200, saved)])
    memory.board.follow([told(-9, 100, heard), told(-1, 201, saved)])
    await go_on(memory, feed, list(memory.board.quotes.values()), OPEN)
    assert {quote.ltp for quote in memory.board.quotes.values()} == {101, 201}
    Pump(runtime, feed).step(OPEN)
    for quote in memory.board.conflate():
        if quote.instrument in (heard, saved):
            assert (quote.open, quote.previous_close) == (99, 98)
            assert quote.at >= told(-1, 1, heard).at


@pytest.mark.parametrize("seconds", [1, 6], ids=["another machine's", "the exchange's, and another machine's"])
async def test_a_clock_that_was_a_little_ahead_costs_nothing(seconds: float, runtime: MarketRuntime) -> None:
    """Else each hand-over would forget the day's range of everything: ticks up to five seconds ahead are good ones."""
    feed = simulator()
    name = feed.contracts[0].instrument
    await go_on(runtime.memory, feed, [told(seconds, 101, name)], OPEN)
    assert runtime.memory.board.quotes[name].open == 99


async def test_whoever_stands_by_knows_what_is_needed(runtime: MarketRuntime) -> None:
    """So that a successor on a live feed subscribes to what is held at once. Whoever needs prices repeats it."""
    name = InstrumentId(f"NSE:T{ids.new_id().hex[-8:].upper()}")
    said = PricesRequested(needed_by="risk", need=PriceNeed.POSITION, instruments=(name,))
    topic = topics.PRICE_REQUESTS
    async with standing_by(runtime):
        async with asyncio.timeout(30):
            while name not in {each for need in runtime.memory.needs.now(OPEN) for each in need.instruments}:
                await publish([record(topic, said, replace(envelope_of(said), key=topic.key_of(said)))])
                await asyncio.sleep(0.2)


async def test_whoever_stands_by_forgets_the_books_of_what_is_listed_no_more(runtime: MarketRuntime) -> None:
    """Thousands of contracts expire in a month, and a process may live for many."""
    gone, stays = (listed(f"T{ids.new_id().hex[-10:].upper()}") for _ in range(2))
    memory = runtime.memory
    await publish_contracts(runtime, [gone, stays])
    async with standing_by(runtime):
        for each in (gone, stays):
            book = tick(instrument=each.instrument).model_dump_json()
            memory.followed.books[each.instrument.encode()] = book.encode()
        await runtime.pool.execute(
            "UPDATE contracts SET gone_on = $2 WHERE instrument = $1", gone.instrument, OPEN.date()
        )
        memory.followed.master_changed.set()
        await until(lambda: memory.book(gone.instrument) is None)
        assert memory.book(stays.instrument) is not None


async def test_whoever_lost_the_lead_tells_nothing_of_what_it_heard(runtime: MarketRuntime) -> None:
    board = runtime.memory.board
    assert board.take(tick(1)) is None
    board.conflate()
    assert board.take(tick(2)) is None
    async with standing_by(runtime):
        assert board.unsaved() == {}
        assert all(quote.at != tick(2).at for quote in board.conflate())
        assert board.books == {}
