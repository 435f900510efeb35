"""What clients look at, told within milliseconds: marketdata.watched.v1. Everybody else reads the conflated quotes."""

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from libs.common.contracts.market import WatchedConflated
from libs.common.telemetry import log

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

FOLLOW_SECONDS = 0.25
TELL_SECONDS = 0.01
MOST_AT_ONCE = 500
"""Quotes in one message."""


async def follow_watchers(runtime: "MarketRuntime") -> None:
    """Learn from Redis what is watched. A book that nobody watched before is told at once, as it is."""
    board = runtime.memory.board
    away = False
    while True:
        try:
            fresh = await board.watched.follow(runtime.memory.redis, runtime.clock.now().timestamp())
        except (RedisError, OSError) as error:
            if not away:
                log.warning("watchers_unknown", error=repr(error))
            away = True
        else:
            away = False
            for instrument in fresh & board.books.keys():
                board.watched.take(board.books[instrument])
        await asyncio.sleep(FOLLOW_SECONDS)


async def tell_watchers(runtime: "MarketRuntime") -> None:
    """At most once in TELL_SECONDS, the newest of each watched instrument that ticked."""
    board = runtime.memory.board
    while True:
        await board.watched.ticked.wait()
        await asyncio.sleep(TELL_SECONDS)
        quotes, depths = board.watched_now()
        for n in range(0, len(quotes), MOST_AT_ONCE):
            some = quotes[n : n + MOST_AT_ONCE]
            names = {quote.instrument for quote in some}
            runtime.publish_bulk(
                WatchedConflated(
                    shard="all",
                    at=runtime.clock.now(),
                    quotes=tuple(some),
                    depths=tuple(depth for depth in depths if depth.instrument in names),
                )
            )
