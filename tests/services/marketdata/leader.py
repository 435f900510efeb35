"""The marketdata that leads, with a Redis database to itself."""

import contextlib
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from redis.asyncio import Redis

from libs.common.clock import FixedClock
from libs.common.messaging.lead import Role
from libs.common.runtime import Runtime
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.store import ContractStore
from tests.services.marketdata.samples import OPEN

MarketRuntime = Runtime[ContractStore, MarketMemory]


@contextlib.asynccontextmanager
async def leading() -> AsyncIterator[MarketRuntime]:
    """With quotes in a Redis database of its own, so that no other test's marketdata goes on from them."""
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        runtime.lead.role = Role.LEADER
        await have_quotes_to_itself(runtime)
        yield runtime


async def have_quotes_to_itself(runtime: MarketRuntime) -> None:
    await runtime.memory.redis.aclose()
    runtime.memory.redis = Redis.from_url(urlsplit(os.environ["REDIS_URL"])._replace(path="/15").geturl())
    await runtime.memory.redis.flushdb()
