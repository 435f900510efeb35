"""The newest quotes are in Redis for everyone, also when it was away, lost them, or the lead is handed over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from libs.common.contracts.market import Quote
from libs.common.messaging.lead import Role
from libs.common.testing.caches import RedisOfOurOwn
from services.marketdata.adapters.simulator import SimulatedFeed
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.streams import find_lost_quotes, save_quotes
from services.marketdata.streams.feed import Pump
from tests.services.marketdata.leader import MarketRuntime, leading
from tests.services.marketdata.samples import OPEN, SBIN, tick
from tests.services.marketdata.test_simulator import simulator


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[MarketRuntime]:
    async with leading() as runtime:
        yield runtime


@pytest.fixture
def feed() -> SimulatedFeed:
    return simulator()


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
