"""Depth and option chains on the WebSocket while there is no Redis: marketdata and the gateway on real Kafka."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.market import QuotesConflated
from libs.common.messaging.streams import StreamReader
from libs.common.runtime import Runtime
from libs.common.testing.apps import opened, served
from libs.common.testing.caches import RedisOfOurOwn
from services.gateway import app as gateway
from services.marketdata import app as marketdata
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from services.marketdata.streams import save_quotes, tell_chains, tell_watchers
from tests.services.gateway.streaming import Live, until
from tests.services.marketdata.samples import tick
from tests.services.marketdata.test_chain import EXPIRY, MASTER, NOW, STRIKES, market

MarketRuntime = Runtime[ContractStore, MarketMemory]
OPTION = MASTER[2 * STRIKES.index(24_400)].instrument


@contextlib.asynccontextmanager
async def running(runtime: MarketRuntime, live: Live) -> AsyncIterator[None]:
    readers = [StreamReader(runtime), StreamReader(live.runtime)]
    parts = [tell_watchers(runtime), tell_chains(runtime), save_quotes(runtime)]
    tasks = [asyncio.ensure_future(work) for work in (*(reader.run() for reader in readers), *parts)]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(reader.caught_up.wait() for reader in readers))
        yield
    finally:
        for reader in readers:
            await reader.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_while_redis_is_away_depth_and_chains_are_streamed(
    pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisOfOurOwn(tmp_path))
        monkeypatch.setenv("REDIS_URL", redis.url)
        runtime: MarketRuntime = await stack.enter_async_context(opened(marketdata.app, clock=FixedClock(NOW)))
        address, of_gateway = await stack.enter_async_context(served(gateway.app))
        live = Live(of_gateway)
        live.url = address
        stack.push_async_callback(live.close)
        runtime.memory.listed = {contract.instrument: contract for contract in MASTER}
        runtime.memory.board.restore(market().values())
        await stack.enter_async_context(running(runtime, live))
        runtime.publish_bulk(QuotesConflated(shard="all", at=NOW, quotes=(market()[OPTION],)))
        await until(lambda: live.runtime.memory.quotes.newest(OPTION) is not None)
        asha = await live.person("asha")
        await redis.kill()

        chain = {"underlying": "NIFTY", "expiry": str(EXPIRY), "strikes": 2}
        async with live.reader(asha, quotes=[OPTION], mode="depth", chains=[chain]) as reader:
            whole = await reader.hear("snapshot", "chain")
            assert len(whole["data"]["rows"]) == 5
            later = NOW + timedelta(seconds=1)
            newer = tick(ltp=111.0, instrument=OPTION).model_copy(update={"at": later, "received_at": later})
            await until(lambda: OPTION in runtime.memory.board.watched.depths)
            assert runtime.memory.board.take(newer) is None
            runtime.memory.board.conflate()
            book = await reader.hear("event", "depth")
            assert book["data"]["instrument"] == OPTION
            changed = await reader.hear("event", "chain")
            told = [row[side]["ltp"] for row in changed["data"]["rows"] for side in ("call", "put") if row[side]]
            assert 111.0 in told
