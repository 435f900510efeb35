"""Tells marketdata what the clients of this process look at, of which it is told within milliseconds, and what they
asked for, of which a live feed has to carry the prices.

Each name as soon as somebody asks for it, and all of them again before that ends: a lost word heals in RENEW_S.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta

from libs.common.clock import Clock
from libs.common.contracts.base import Message
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import WatchRenewed
from services.gateway.memory.asked import Asked, Name
from services.gateway.memory.prices import Mode, Prices

RENEW_S = 5.0
HOLDS = timedelta(seconds=15)
SETTLE_S = 0.05
"""Several subscriptions of one moment are told together."""
MOST_NAMES = 5_000
"""In one message."""


class Watching:
    def __init__(
        self,
        publish: Callable[[Message], None],
        prices: Prices,
        screens: Collection[str],
        clock: Clock,
        watcher: str,
    ) -> None:
        self._publish = publish
        self._prices = prices
        self._screens = screens
        self._asked = Asked()
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

    def ask(self, *instruments: str) -> datetime | None:
        """Their prices are wanted for a while. Since when all of them are; None without any."""
        return self._ask("asked", instruments)

    def ask_chain(self, chain: str) -> datetime | None:
        """As `ask`, of every contract of a chain."""
        return self._ask("asked_chains", (chain,))

    def _ask(self, field: str, names: Sequence[str]) -> datetime | None:
        if self._asked.note(field, names, self._clock.now()):
            self.changed()
        return max((since for name in names if (since := self._asked.since(field, name))), default=None)

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
        for instrument in self._screens:
            yield "asked", instrument
        yield from self._asked.names(self._clock.now())

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
                    asked=tuple(InstrumentId(name) for field, name in some if field == "asked"),
                    asked_chains=tuple(name for field, name in some if field == "asked_chains"),
                )
            )
