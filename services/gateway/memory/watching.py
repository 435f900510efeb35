"""Tells marketdata, through Redis, what the clients of this process look at: it is told of those within milliseconds.

`services/marketdata/memory/watched.py` says what the sets hold. While Redis is away quotes still come every 100 ms by
the other road, and marketdata goes on with what it knew last.
"""

import asyncio
from collections.abc import Collection

from libs.common.clock import Clock
from services.gateway.memory.cache import Cache
from services.gateway.memory.prices import Mode, Prices

RENEW_S = 5.0
HOLDS_S = 15.0
SETTLE_S = 0.05
"""Several subscriptions of one moment are told together."""
_KEYS = {"quotes": "watched:quotes", "depths": "watched:depths", "chains": "watched:chains"}


class Watching:
    def __init__(self, cache: Cache, prices: Prices, clock: Clock) -> None:
        self._cache = cache
        self._prices = prices
        self._clock = clock
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._task = asyncio.create_task(self._run(), name="watching")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def changed(self) -> None:
        """Somebody watches something else now."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._changed.wait()
                await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                pass
            self._changed.clear()
            depths = {name for mode, name in self._prices.topics if mode is Mode.DEPTH}
            quotes = {name for mode, name in self._prices.topics if mode is not Mode.DEPTH}
            for what, names in (("quotes", quotes), ("depths", depths), ("chains", set(self._prices.chains))):
                await self._renew(_KEYS[what], names)

    async def _renew(self, key: str, names: Collection[str]) -> None:
        if names:
            until = self._clock.now().timestamp() + HOLDS_S
            await self._cache.renew(key, names, until)
