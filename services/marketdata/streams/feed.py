"""The one path of every tick, whatever feed it comes from: check, publish, quote."""

import asyncio
import gc
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, FeedSource
from libs.common.contracts.market import Quote, QuotesConflated, Tick
from libs.common.settings import load
from libs.common.telemetry import log
from services.marketdata.adapters.source import open_feed
from services.marketdata.domain import symbols
from services.marketdata.domain.feed import MarketFeed
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.streams import metrics
from services.marketdata.streams.contracts import publish_contracts

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

SHARD = "all"
CONFLATION = timedelta(milliseconds=100)
RATE_WINDOW = timedelta(seconds=5)
MUTE_AFTER = timedelta(seconds=10)
"""A feed that says nothing for this long while a market is open is not ready, however well it is connected."""


async def run_feed(runtime: "MarketRuntime") -> None:
    """Open the day's feed, publish its contracts, pass on its ticks; again every trading day."""
    settings = load(MarketDataSettings)
    memory = runtime.memory
    saved = await memory.saved_quotes()
    while True:
        now = runtime.clock.now()
        day = memory.calendar.trading_day(now)
        feed = await asyncio.to_thread(open_feed, settings, memory.calendar.hours, day)
        await go_on(memory, feed, saved or list(memory.board.quotes.values()), now)
        saved = []
        await publish_contracts(runtime, feed.contracts)
        _announce(memory, settings, feed, day)
        # Modules and the master live as long as the day: walking them in every full collection costs a third of a tick.
        gc.collect()
        gc.freeze()
        await Pump(runtime, feed).run(settings.step_ms / 1000)


async def go_on(memory: MarketMemory, feed: MarketFeed, quotes: list[Quote], now: datetime) -> None:
    """Take up where the day before or an earlier run ended.

    Prices of another feed are another market's, and those of a clock that was ahead would make every tick of today
    seem old: both are dropped.
    """
    if any(q.at > now or q.source not in (feed.source, FeedSource.DERIVED) for q in quotes):
        await memory.drop_quotes([q.instrument for q in quotes])
        quotes = []
    day = memory.calendar.trading_day(now)
    memory.board.previous_closes = feed.previous_closes
    memory.board.restore(q for q in quotes if q.instrument not in memory.board.quotes)
    feed.resume(quotes, day)


def _announce(memory: MarketMemory, settings: MarketDataSettings, feed: MarketFeed, day: date) -> None:
    status = memory.status
    status.day = day
    status.feed, status.source = settings.feed, feed.source
    status.details, status.contracts = feed.details, len(feed.contracts)
    log.info("feed_opened", feed=settings.feed, source=feed.source, details=feed.details, day=day)


class Pump:
    """Passes on one day's ticks."""

    def __init__(self, runtime: "MarketRuntime", feed: MarketFeed) -> None:
        self._runtime = runtime
        self._memory = runtime.memory
        self._feed = feed
        self._conflated_at = runtime.clock.now()
        self._rate_since = self._conflated_at
        self._rate_ticks = 0
        self._exchanges = {contract.exchange for contract in feed.contracts}
        self._open: dict[Exchange, bool] = {}
        self._open_until = self._conflated_at
        self._heard_at = self._conflated_at

    async def run(self, step: float) -> None:
        """Until the trading day ends."""
        loop = asyncio.get_running_loop()
        day = self._memory.calendar.trading_day(self._runtime.clock.now())
        wake = loop.time()
        while True:
            now = self._runtime.clock.now()
            if self._memory.calendar.trading_day(now) != day:
                return
            self.step(now)
            wake = max(wake + step, loop.time())
            await asyncio.sleep(wake - loop.time())

    def step(self, now: datetime) -> None:
        """Everything due at `now`."""
        for tick in self._feed.due(now):
            if self._trades(tick, now):
                self._pass_on(tick, now)
        if now - self._conflated_at >= CONFLATION:
            self._conflated_at = now
            quotes = self._memory.board.conflate()
            if quotes:
                self._runtime.publish_bulk(QuotesConflated(shard=SHARD, at=now, quotes=quotes))
            for tick in self._memory.custom.ticks(quotes, self._memory.board.quotes, now):
                self._pass_on(tick, now)
        self._measure(now)

    def _pass_on(self, tick: Tick, now: datetime) -> None:
        memory = self._memory
        fault = memory.board.take(tick)
        if fault is not None:
            metrics.REFUSED.labels(fault).inc()
            memory.status.refused[fault] = memory.status.refused.get(fault, 0) + 1
            return
        self._runtime.publish_bulk(tick)
        metrics.TICKS.labels(tick.source).inc()
        memory.status.ticks += 1
        memory.status.last_tick_at = tick.at
        self._heard_at = now
        self._runtime.ready["feed"] = True

    def _trades(self, tick: Tick, now: datetime) -> bool:
        return self._is_open(symbols.split(tick.instrument)[0], now)

    def _is_open(self, exchange: Exchange, now: datetime) -> bool:
        """Asked of the calendar once a second."""
        if now >= self._open_until:
            self._open, self._open_until = {}, now + timedelta(seconds=1)
        if exchange not in self._open:
            self._open[exchange] = self._memory.calendar.is_open(exchange, now)
        return self._open[exchange]

    def _measure(self, now: datetime) -> None:
        if now - self._heard_at > MUTE_AFTER:
            self._runtime.ready["feed"] = not any(self._is_open(exchange, now) for exchange in self._exchanges)
        elapsed = now - self._rate_since
        if elapsed < RATE_WINDOW:
            return
        status = self._memory.status
        status.ticks_per_second = round((status.ticks - self._rate_ticks) / elapsed.total_seconds(), 1)
        self._rate_since, self._rate_ticks = now, status.ticks
        if status.last_tick_at:
            metrics.LAST_TICK.set(status.last_tick_at.timestamp())
