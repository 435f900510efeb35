"""Tells marketdata what the clients of this process look at: it is told of those within milliseconds.

Each name as soon as somebody asks for it, and all of them again before that ends: a lost word heals in RENEW_S.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeAlias

from libs.common.clock import Clock
from libs.common.contracts.base import Message
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import WatchRenewed
from services.gateway.memory.prices import Mode, Prices

RENEW_S = 5.0
HOLDS = timedelta(seconds=15)
SETTLE_S = 0.05
"""Several subscriptions of one moment are told together."""
MOST_NAMES = 5_000
"""In one message."""

Name: TypeAlias = tuple[str, str]
"""A field of WatchRenewed, and what is in it."""


class Watching:
    def __init__(self, publish: Callable[[Message], None], prices: Prices, clock: Clock, watcher: str) -> None:
        self._publish = publish
        self._prices = prices
        self._clock = clock
        self._watcher = watcher
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
        loop = asyncio.get_running_loop()
        said: set[Name] = set()
        renew_at = loop.time() + RENEW_S
        while True:
            try:
                async with asyncio.timeout_at(renew_at):
                    await self._changed.wait()
                await asyncio.sleep(SETTLE_S)
            except TimeoutError:
                pass
            if loop.time() >= renew_at:
                said, renew_at = set(), loop.time() + RENEW_S
            self._changed.clear()
            names = set(self._watched())
            self._say(sorted(names - said))
            said = names

    def _watched(self) -> Iterator[Name]:
        for mode, instrument in self._prices.topics:
            yield "depths" if mode is Mode.DEPTH else "quotes", instrument
        for chain in self._prices.chains:
            yield "chains", chain

    def _say(self, names: Sequence[Name]) -> None:
        until = self._clock.now() + HOLDS
        for n in range(0, len(names), MOST_NAMES):
            some = names[n : n + MOST_NAMES]
            self._publish(
                WatchRenewed(
                    watcher=self._watcher,
                    until=until,
                    quotes=tuple(InstrumentId(name) for field, name in some if field == "quotes"),
                    depths=tuple(InstrumentId(name) for field, name in some if field == "depths"),
                    chains=tuple(name for field, name in some if field == "chains"),
                )
            )
