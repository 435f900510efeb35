"""The live feed: opened on today's contracts and logins, and told which instruments are needed."""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from libs.common.contracts.enums import Exchange, PriceNeed
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.masters import MasterSource
from libs.common.database import FAILURES
from libs.common.settings import load
from libs.common.telemetry import log
from services.marketdata.adapters.live import LiveFeed
from services.marketdata.adapters.live.feed import Ticker
from services.marketdata.adapters.zerodha import KiteDialect
from services.marketdata.domain.chain import key_of
from services.marketdata.domain.demand import NearTheMoney, Reason, wanted
from services.marketdata.settings import LiveSettings, TickerSettings
from services.marketdata.streams import metrics
from services.marketdata.streams.contracts import take_published

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

LOOK_SECONDS = 1.0
MASTER_SECONDS = 2.0
REASONS = {
    PriceNeed.POSITION: Reason.POSITION,
    PriceNeed.ORDER: Reason.ORDER,
    PriceNeed.STRATEGY: Reason.STRATEGY,
}


async def open_live(runtime: "MarketRuntime", day: date) -> LiveFeed:
    """The feed of one trading day. Waits for the first dump of each broker whose ticker is to be read."""
    settings = load(LiveSettings)
    runtime.memory.followed.master_changed.clear()
    tickers = [
        Ticker(_dialect(each), each.connections, *await _called(runtime, each, day)) for each in settings.tickers
    ]
    memory = runtime.memory

    def is_open(exchange: Exchange) -> bool:
        return memory.calendar.is_open(exchange, runtime.clock.now())

    return LiveFeed(tickers, runtime.clock, is_open)


async def follow_demand(runtime: "MarketRuntime", feed: LiveFeed) -> None:
    """Until cancelled: carry what somebody needs now, the most needed first when the feed is full."""
    memory = runtime.memory
    known, near = feed.known, await asyncio.to_thread(NearTheMoney, list(memory.listed.values()))
    told: tuple[InstrumentId, ...] | None = None
    while True:
        if memory.followed.master_changed.is_set() and await _has_learnt(runtime, feed):
            known, near = feed.known, await asyncio.to_thread(NearTheMoney, list(memory.listed.values()))
            told = None
        await memory.desk.index(memory.listed)
        now = wanted(_demand(memory, near, runtime.clock.now()), known, feed.most)
        if now.carried != told:
            feed.carry(now.carried)
            told = now.carried
            log.info("demand_changed", carried=len(now.carried), dropped=len(now.dropped))
        memory.board.limit(feed.new_bands())
        metrics.WANTED.labels("carried").set(len(now.carried))
        metrics.WANTED.labels("dropped").set(len(now.dropped))
        _measure(feed)
        memory.status.details = feed.details
        await asyncio.sleep(LOOK_SECONDS)


async def _has_learnt(runtime: "MarketRuntime", feed: LiveFeed) -> bool:
    """Of the contracts that a dump of today has brought, and of tokens that it has changed."""
    memory, tickers = runtime.memory, load(LiveSettings).tickers
    memory.followed.master_changed.clear()
    day = memory.calendar.trading_day(runtime.clock.now())
    try:
        async with runtime.transaction() as unit:
            called = [await _by_its_dump(unit.store, ticker, day) for ticker in tickers]
        await take_published(runtime)
    except FAILURES as error:
        log.warning("feed_waits_for_master", error=repr(error))
        memory.followed.master_changed.set()
        return False
    feed.name(called)
    memory.board.judge_by(memory.listed)
    return True


def _dialect(ticker: TickerSettings) -> KiteDialect:
    return KiteDialect(ticker.credentials, ticker.address, ticker.quotes)


async def _called(
    runtime: "MarketRuntime", ticker: TickerSettings, day: date
) -> tuple[Mapping[InstrumentId, int], Mapping[InstrumentId, int]]:
    waiting = False
    while True:
        async with runtime.transaction() as unit:
            tokens, lots = await _by_its_dump(unit.store, ticker, day)
        if tokens:
            return tokens, lots
        if not waiting:
            log.warning("ticker_waits_for_master", broker=ticker.broker, hint="MARKETDATA_MASTERS must name it")
        waiting = True
        await asyncio.sleep(MASTER_SECONDS)


async def _by_its_dump(
    store: "ContractStore", ticker: TickerSettings, day: date
) -> tuple[Mapping[InstrumentId, int], Mapping[InstrumentId, int]]:
    """The instruments' tokens, and the units in a contract of what the broker counts in contracts."""
    source = MasterSource(ticker.broker)
    return await store.tokens(source, day), await store.lots(source)


def _demand(memory: "MarketMemory", near: NearTheMoney, at: datetime) -> dict[Reason, set[InstrumentId]]:
    demand: dict[Reason, set[InstrumentId]] = {reason: set() for reason in Reason}
    demand[Reason.STANDING] |= near.spots
    for said in memory.needs.now(at):
        asked = demand[REASONS[said.need]]
        asked.update(said.instruments)
        for underlying in said.underlyings:
            asked |= near.of(underlying, memory.board.quotes)
    watched = memory.board.watched
    demand[Reason.VIEWER] |= watched.instruments
    demand[Reason.ASKED] |= watched.asked
    for reason, chains in ((Reason.VIEWER, watched.chains), (Reason.ASKED, watched.asked_chains)):
        for name in chains:
            contracts = memory.desk.contracts(key_of(name)) if _is_chain(name) else None
            if contracts is not None:
                demand[reason].update(contracts.options)
                demand[reason].update([contracts.future] if contracts.future else [])  # they are priced on it
    for asked in demand.values():
        asked |= memory.custom.legs_of(asked)
    return demand


def _is_chain(name: str) -> bool:
    try:
        key_of(name)
    except ValueError:
        return False
    return True


def _measure(feed: LiveFeed) -> None:
    metrics.TICKERS_CONNECTED.set(feed.connected)
    metrics.TICKERS_POLLED.set(feed.polling)
    metrics.TICKER_RECONNECTS.set(feed.reconnects)
    metrics.TICKER_TAKEOVERS.set(feed.takeovers)
    metrics.STRANGERS.set(feed.strangers)
