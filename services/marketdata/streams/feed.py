"""The one path of every tick, whatever feed it comes from: check, publish, quote."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, FeedSource, TickFault
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import InstrumentListed, Quote, QuotesConflated, Tick, TickQuarantined
from libs.common.settings import load
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.marketdata.adapters.live import LiveFeed
from services.marketdata.adapters.source import open_feed
from services.marketdata.domain import symbols
from services.marketdata.domain.candles import LATENESS
from services.marketdata.domain.feed import MarketFeed
from services.marketdata.domain.ticks import CLOCKS_DIFFER
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.market import FeedStatus
from services.marketdata.settings import FeedKind, MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.streams import metrics
from services.marketdata.streams.contracts import publish_contracts, take_master
from services.marketdata.streams.live import follow_demand, open_live

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

    MarketRuntime = Runtime[ContractStore, MarketMemory]

SHARD = "all"
CONFLATION = timedelta(milliseconds=100)
RATE_WINDOW = timedelta(seconds=5)
ASKED_EVERY = timedelta(seconds=1)
MOST_TOLD_APART = 1_000
"""Quarantined ticks published in a second; beyond it they are only counted."""
MUTE_AFTER = timedelta(seconds=10)
"""A feed that says nothing for this long while a market is open is not ready, however well it is connected."""
AHEAD = CLOCKS_DIFFER + timedelta(seconds=2)
"""By how much a quote's time may be ahead of our clock: the exchange's may be of who led before, and his of ours."""


async def run_feed(runtime: "MarketRuntime") -> None:
    """Open the day's feed, publish its contracts, pass on its ticks; again every trading day."""
    settings = load(MarketDataSettings)
    memory = runtime.memory
    memory.status = FeedStatus()
    memory.board.watched.drain()
    runtime.bulk.start()
    # A standby that takes over stays ready meanwhile: it has quotes, and who asks has nobody else.
    mute = asyncio.get_running_loop().call_later(MUTE_AFTER.total_seconds(), runtime.ready.update, {"feed": False})
    try:
        memory.board.follow(await memory.saved_quotes())
        while True:
            now = runtime.clock.now()
            day = memory.calendar.trading_day(now)
            feed = await _open(runtime, settings, day)
            await go_on(memory, feed, list(memory.board.quotes.values()), now)
            await _list(runtime, feed, settings, day)
            mute.cancel()
            await _pump(runtime, feed, settings.step_ms / 1000)
    finally:
        mute.cancel()


async def _list(runtime: "MarketRuntime", feed: MarketFeed, settings: MarketDataSettings, day: date) -> None:
    """Say what the feed lists, and judge its ticks by it."""
    if isinstance(feed, LiveFeed):
        await take_master(runtime)
    else:
        await publish_contracts(runtime, feed.contracts)
    runtime.memory.board.begin_day(_midnight(day), runtime.memory.listed)
    _announce(runtime.memory, settings, feed, day)
    # Modules and the master live as long as the day: walking them in every full collection costs a third of a tick.
    gc.collect()
    gc.freeze()


async def _open(runtime: "MarketRuntime", settings: MarketDataSettings, day: date) -> MarketFeed:
    if settings.feed is FeedKind.LIVE:
        return await open_live(runtime, day)
    return await asyncio.to_thread(open_feed, settings, runtime.memory.calendar.hours, day)


async def _pump(runtime: "MarketRuntime", feed: MarketFeed, step: float) -> None:
    """Until the trading day ends; a live feed's connections and what they carry are looked after meanwhile."""
    async with asyncio.TaskGroup() as group:
        beside = []
        if isinstance(feed, LiveFeed):
            beside = [group.create_task(feed.run()), group.create_task(follow_demand(runtime, feed))]
        pump = Pump(runtime, feed)
        try:
            await pump.run(step)
        finally:
            pump.end()
        for task in beside:
            task.cancel()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)


async def go_on(memory: MarketMemory, feed: MarketFeed, quotes: list[Quote], now: datetime) -> None:
    """Take up where the day before or an earlier run ended.

    Prices of another feed are another market's, and those of a clock that was far ahead would make every tick of today
    seem old: both are dropped.
    """
    same_market = {feed.source, FeedSource.DERIVED}
    if feed.source is FeedSource.LIVE:
        same_market.add(FeedSource.POLLED)
    if any(q.at > now + AHEAD or q.source not in same_market for q in quotes):
        await memory.drop_quotes([q.instrument for q in quotes])
        quotes = []
    day = memory.calendar.trading_day(now)
    memory.board.previous_closes = feed.previous_closes
    memory.board.exchange_ranges = feed.ranges if isinstance(feed, LiveFeed) else {}
    memory.board.restore(quotes)
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
        self._judged_by: Mapping[InstrumentId, InstrumentListed] = {}
        self._derivative_listed: set[InstrumentId] = set()
        self._open: dict[Exchange, bool] = {}
        self._turning: set[Exchange] = set()
        """Those that have just opened or closed, or do before the calendar is asked again."""
        self._asked_at = self._conflated_at - ASKED_EVERY
        self._heard_at = self._conflated_at
        self._ticks = False
        self._is_told = False
        """Whether Kafka has quotes of ours. We are not ready before: nobody would know a price yet."""
        self._told_apart = 0

    async def run(self, step: float) -> None:
        """Until the trading day ends."""
        loop = asyncio.get_running_loop()
        day = self._memory.calendar.trading_day(self._runtime.clock.now())
        wake = loop.time()
        while True:
            now = self._runtime.clock.now()
            if self._memory.calendar.trading_day(now) != day:
                return
            if self._runtime.lead.leads():
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
            quotes = self._tell(now)
            for tick, priced_at in self._memory.custom.ticks(quotes, self._memory.board.quotes, now):
                self._pass_on(tick, now, priced_at)
        self._measure(now)

    def end(self) -> None:
        """Tell what is not told yet, unless somebody else leads already."""
        if self._runtime.lead.leads():
            self._tell(self._runtime.clock.now())

    def _tell(self, now: datetime) -> Sequence[Quote]:
        quotes = self._memory.board.conflate()
        if quotes:
            told = QuotesConflated(shard=SHARD, at=now, quotes=quotes)
            self._runtime.publish_bulk(told, None if self._is_told else self._note_told)
        return quotes

    def _note_told(self) -> None:
        self._is_told = True

    def _pass_on(self, tick: Tick, now: datetime, priced_at: datetime | None = None) -> None:
        memory = self._memory
        fault = memory.board.take(tick, priced_at)
        if fault is not None:
            self._keep_apart(tick, fault)
            return
        self._runtime.publish_bulk(tick)
        metrics.TICKS.labels(tick.source).inc()
        memory.status.ticks += 1
        memory.status.last_tick_at = tick.at
        self._heard_at = now
        self._ticks = True

    def _keep_apart(self, tick: Tick, fault: TickFault) -> None:
        """Count it, and tell who wants to know why, but no more of them a second than anybody would read."""
        refused = self._memory.status.refused
        refused[fault] = refused.get(fault, 0) + 1
        if fault is TickFault.BAND and isinstance(self._feed, LiveFeed):
            self._feed.doubt_band(tick.instrument)
        metrics.REFUSED.labels(fault).inc()
        if self._told_apart < MOST_TOLD_APART:
            self._told_apart += 1
            metrics.QUARANTINED.inc()
            self._runtime.publish_bulk(TickQuarantined(instrument=tick.instrument, fault=fault, tick=tick))

    def _trades(self, tick: Tick, now: datetime) -> bool:
        """Whether it happened while its market was open or in its closing auction. By our clock, but around an opening
        and a close, where each tick's own time tells; what happened before a close may come LATENESS later, as into a
        candle.
        """
        exchange = symbols.split(tick.instrument)[0]
        is_open = self._is_open(exchange, now)
        if exchange in self._turning:
            is_open = self._memory.calendar.is_open(exchange, tick.at)
        return is_open or self._in_auction(tick, exchange, now)

    def _in_auction(self, tick: Tick, exchange: Exchange, now: datetime) -> bool:
        """Stocks with derivatives trade in one after the others have closed; its price is their closing price."""
        listed = self._memory.listed
        if listed is not self._judged_by:
            self._derivative_listed = {contract.spot for contract in listed.values() if contract.spot}
            self._judged_by = listed
        if tick.instrument not in self._derivative_listed:
            return False
        calendar = self._memory.calendar
        session = calendar.session(exchange, calendar.trading_day(now), derivative_listed=True)
        return session is not None and session.in_closing_auction(tick.at) and now < session.end + LATENESS

    def _is_open(self, exchange: Exchange, now: datetime) -> bool:
        """Asked of the calendar once a second."""
        if now - self._asked_at >= ASKED_EVERY:
            self._open, self._turning, self._asked_at = {}, set(), now
            self._told_apart = 0
        if exchange not in self._open:
            calendar = self._memory.calendar
            is_open = self._open[exchange] = calendar.is_open(exchange, now)
            if any(calendar.is_open(exchange, at) != is_open for at in (now - LATENESS, now + ASKED_EVERY)):
                self._turning.add(exchange)
        return self._open[exchange]

    def _measure(self, now: datetime) -> None:
        if not self._is_told:
            self._runtime.bulk.serve()
        if now - self._heard_at > MUTE_AFTER:
            exchanges = self._feed.exchanges if isinstance(self._feed, LiveFeed) else self._exchanges
            self._runtime.ready["feed"] = not any(self._is_open(exchange, now) for exchange in exchanges)
        elif self._ticks and self._is_told:
            self._runtime.ready["feed"] = True
        elapsed = now - self._rate_since
        if elapsed < RATE_WINDOW:
            return
        status = self._memory.status
        status.ticks_per_second = round((status.ticks - self._rate_ticks) / elapsed.total_seconds(), 1)
        self._rate_since, self._rate_ticks = now, status.ticks
        if status.last_tick_at:
            metrics.LAST_TICK.set(status.last_tick_at.timestamp())
