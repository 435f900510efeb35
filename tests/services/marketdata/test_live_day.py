"""A trading day on a broker's ticker, from the broker's contract dump to a quote."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.clock import FixedClock
from libs.common.contracts.enums import FeedSource, PriceNeed
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import PricesRequested, WatchRenewed
from libs.common.contracts.masters import DownloadTrigger, MasterSource
from libs.common.messaging.lead import Role
from libs.common.runtime import Runtime
from libs.common.testing import deliver
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.domain.ticks import DayRange, quote_of
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import MarketDataSettings
from services.marketdata.store import ContractStore
from services.marketdata.store.contracts.downloads import Download
from services.marketdata.streams.feed import CONFLATION, run_feed
from services.marketdata.streams.masters import download
from tests.services.marketdata.leader import have_quotes_to_itself
from tests.services.marketdata.samples import OPEN, tick
from tests.services.marketdata.test_custom_symbols import INFY, spread
from tests.services.marketdata.test_live_feed import until
from tools.stub_ticker import packets
from tools.stub_ticker.server import StubTicker

SBIN = InstrumentId("NSE:SBIN")
HOUR = timedelta(hours=1)
TOKEN = 779_521
DUMP = f"{SBIN},NSE,SBIN,STATE BANK,EQUITY,,,,,,1,0.05,,,,,{TOKEN},SBIN\n"
INFOSYS_TOKEN = 408_065
CALL, FUTURE = 801, 802
CHAIN = f"""NFO:SBIN24NOV26800CE,NFO,SBIN24NOV26800CE,SBIN,OPTION,SBIN,{SBIN},2026-11-24,800,CE,750,0.05,,,,,{CALL},CALL
NFO:SBIN24NOV26FUT,NFO,SBIN24NOV26FUT,SBIN,FUTURE,SBIN,{SBIN},2026-11-24,,,750,0.05,,,,,{FUTURE},FUTURE
"""
INFOSYS = f"{INFY},NSE,INFY,INFOSYS,EQUITY,,,,,,1,0.05,,,,,{INFOSYS_TOKEN},INFY\n"


MarketRuntime = Runtime[ContractStore, MarketMemory]


@pytest.fixture
async def ticker() -> AsyncIterator[StubTicker]:
    async with StubTicker().running() as ticker:
        yield ticker


@pytest.fixture
async def runtime(
    ticker: StubTicker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, real_servers: None
) -> AsyncIterator[MarketRuntime]:
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        credentials = tmp_path / "kite.json"
        credentials.write_text(json.dumps({"api_key": "key", "access_token": ticker.login}))
        tickers = [{"credentials": str(credentials), "address": ticker.address, "connections": 1}]
        monkeypatch.setenv("MARKETDATA_FEED", "live")
        monkeypatch.setenv("MARKETDATA_TICKERS", json.dumps(tickers))
        await runtime.pool.execute("DELETE FROM broker_contracts WHERE source = 'zerodha'")
        yield runtime
        await runtime.pool.execute("DELETE FROM broker_contracts WHERE source = 'zerodha'")


def said_of(memory: MarketMemory) -> dict[str, Any]:
    """What status tells of the only login now."""
    tickers = memory.status.details.get("tickers", [{}])
    assert isinstance(tickers, list)
    found: dict[str, Any] = tickers[0]
    return found


@contextlib.asynccontextmanager
async def a_day(runtime: MarketRuntime, dump: str) -> AsyncIterator[None]:
    runtime.lead.role = Role.LEADER
    async with runtime.transaction() as unit:
        await unit.store.master.stage(dump.encode())
        await unit.store.master.replace(MasterSource.ZERODHA, OPEN.date())
    day = asyncio.create_task(run_feed(runtime))
    try:
        yield
    finally:
        day.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await day


async def test_the_legs_of_a_custom_symbol_that_somebody_looks_at_are_subscribed_to(
    runtime: MarketRuntime, ticker: StubTicker
) -> None:
    """The broker knows nothing of the whole, and nobody else asks for its parts."""
    pair = spread((SBIN, "1"), (INFY, "-0.5"))
    memory = runtime.memory
    async with runtime.transaction() as unit:
        await unit.store.custom_symbols.save(pair, 1, unit.now)
    try:
        async with a_day(runtime, DUMP + INFOSYS):
            await until(lambda: bool(ticker.tokens))
            memory.board.watched.note(WatchRenewed(watcher="g", until=OPEN + HOUR, quotes=(pair.instrument,)))
            await until(lambda: ticker.subscribed == {TOKEN, INFOSYS_TOKEN})
            for token, price in ((TOKEN, 812.0), (INFOSYS_TOKEN, 1_500.0)):
                await ticker.say(packets.frame(packets.full(token, price, OPEN, volume=9, close=price)))
            await until(lambda: {SBIN, INFY} <= memory.board.books.keys())
            runtime.clock = FixedClock(OPEN + CONFLATION)
            await until(lambda: pair.instrument in memory.board.books)
            assert memory.board.books[pair.instrument].ltp == 812.0 - 750.0
    finally:
        await runtime.pool.execute("DELETE FROM custom_symbols")


async def test_the_future_that_a_watched_chain_is_priced_on_is_subscribed_to_with_it(
    runtime: MarketRuntime, ticker: StubTicker
) -> None:
    async with a_day(runtime, CHAIN):
        await until(lambda: bool(ticker.tokens))
        await runtime.memory.desk.index(runtime.memory.listed)
        watched = WatchRenewed(watcher="g", until=OPEN + HOUR, chains=("NFO:SBIN:2026-11-24",))
        runtime.memory.board.watched.note(watched)
        await until(lambda: ticker.subscribed == {CALL, FUTURE})


async def test_what_a_dump_of_the_morning_lists_first_or_names_anew_is_carried_on_that_day(
    runtime: MarketRuntime, ticker: StubTicker, tmp_path: Path
) -> None:
    """The feed of a day is opened at midnight, on the dump of the day before; new contracts are in that of 08:40."""
    renamed, dump, memory = TOKEN + 256, tmp_path / "zerodha.csv", runtime.memory
    names = "instrument_token,tradingsymbol,name,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange"
    shares = (f"{renamed},SBIN,STATE BANK,,0,0.05,1,EQ,NSE,NSE", f"{INFOSYS_TOKEN},INFY,INFOSYS,,0,0.05,1,EQ,NSE,NSE")
    dump.write_text("\n".join((names, *shares)))
    settings = MarketDataSettings(masters={MasterSource.ZERODHA: str(dump)})
    async with a_day(runtime, DUMP):
        await until(lambda: bool(ticker.tokens))
        memory.board.watched.note(WatchRenewed(watcher="g", until=OPEN + HOUR, asked=(SBIN, INFY)))
        await until(lambda: ticker.subscribed == {TOKEN})
        await download(runtime, settings, Download(MasterSource.ZERODHA, DownloadTrigger.SCHEDULE, 1, None))
        await until(lambda: ticker.subscribed == {renamed, INFOSYS_TOKEN})
        assert {SBIN, INFY} <= memory.listed.keys()
        for token in (renamed, INFOSYS_TOKEN):
            await ticker.say(packets.frame(packets.full(token, 812.0, OPEN, close=800)))
        await until(lambda: {SBIN, INFY} <= memory.board.books.keys())


async def test_a_chain_and_an_instrument_that_were_asked_for_are_subscribed_to_until_that_is_forgotten(
    runtime: MarketRuntime, ticker: StubTicker
) -> None:
    """Nobody watches them: without it a request for a chain would never find a price."""
    watched = runtime.memory.board.watched
    async with a_day(runtime, CHAIN + DUMP + INFOSYS):
        await until(lambda: bool(ticker.tokens))
        asked = WatchRenewed(watcher="g", until=OPEN + HOUR, asked=(INFY,), asked_chains=("NFO:SBIN:2026-11-24",))
        watched.note(asked)
        await until(lambda: ticker.subscribed == {TOKEN, INFOSYS_TOKEN, CALL, FUTURE})
        assert not watched.instruments | watched.chains, "a request is not told of every tick"
        watched.forget(OPEN + HOUR)
        await until(lambda: ticker.subscribed == {TOKEN})


async def test_a_feed_that_is_opened_anew_keeps_the_prices_and_the_day_of_what_the_master_lists(
    runtime: MarketRuntime, ticker: StubTicker
) -> None:
    """A restart at noon, or midnight: the broker's ticker tells nothing of what has not traded since."""
    memory = runtime.memory
    await have_quotes_to_itself(runtime)
    day = DayRange(open=801.0, high=820.0, low=799.0, previous_close=800.0)
    saved = quote_of(tick(-60, 812.0).model_copy(update={"source": FeedSource.LIVE}), day)
    gone = saved.model_copy(update={"instrument": InstrumentId("NSE:GONE")})
    await memory.save_quotes({quote.instrument: quote for quote in (saved, gone)})
    async with a_day(runtime, DUMP):
        await until(lambda: bool(ticker.tokens))
        assert memory.board.quotes == {SBIN: saved}
        assert await memory.saved_quotes() == [saved]


async def test_a_quote_has_the_exchange_s_open_high_and_low_of_what_is_carried_since_noon(
    runtime: MarketRuntime, ticker: StubTicker
) -> None:
    memory = runtime.memory
    await have_quotes_to_itself(runtime)
    async with a_day(runtime, DUMP):
        await until(lambda: bool(ticker.tokens))
        memory.board.watched.note(WatchRenewed(watcher="g", until=OPEN + HOUR, asked=(SBIN,)))
        await until(lambda: ticker.subscribed == {TOKEN})
        day = (805.0, 820.0, 801.5)
        await ticker.say(packets.frame(packets.full(TOKEN, 812.0, OPEN, volume=900, close=800, day=day)))
        await until(lambda: SBIN in memory.board.books)
        runtime.clock = FixedClock(OPEN + CONFLATION)
        await until(lambda: SBIN in memory.board.quotes)
        quote = memory.board.quotes[SBIN]
        assert (quote.open, quote.high, quote.low, quote.ltp, quote.previous_close) == (*day, 812.0, 800.0)


async def test_what_somebody_holds_is_subscribed_to_and_quoted(runtime: MarketRuntime, ticker: StubTicker) -> None:
    memory = runtime.memory
    runtime.lead.role = Role.LEADER
    day = asyncio.create_task(run_feed(runtime))
    try:
        async with runtime.transaction() as unit:
            await unit.store.master.stage(DUMP.encode())
            await unit.store.master.replace(MasterSource.ZERODHA, OPEN.date())
        await until(lambda: bool(ticker.tokens))
        assert not ticker.subscribed
        async with runtime.pool.acquire() as connection:
            held = PricesRequested(needed_by="risk", need=PriceNeed.POSITION, instruments=(SBIN,))
            await deliver(app, connection, held, memory=memory, now=OPEN)
        await until(lambda: ticker.subscribed == {TOKEN})
        await ticker.say(packets.frame(packets.full(TOKEN, 812.35, OPEN, close=800)))
        await until(lambda: SBIN in memory.board.books)
        tick = memory.board.books[SBIN]
        assert (tick.ltp, tick.source) == (812.35, FeedSource.LIVE)
        await until(lambda: said_of(memory)["connections"] == [True] and said_of(memory)["silent_s"] != [None])
        ticker.login = "tomorrow"
        await ticker.drop_all()
        await until(lambda: said_of(memory)["silent_s"] == [None])
    finally:
        day.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await day
