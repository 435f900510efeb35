"""The live feed against a ticker that speaks Kite's protocol and misbehaves as brokers do."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.common.clock import SystemClock
from libs.common.contracts.enums import Exchange
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from services.marketdata.adapters.live import LiveFeed, connection
from services.marketdata.adapters.live.feed import Ticker
from services.marketdata.adapters.zerodha import KiteDialect
from services.marketdata.domain.sources import FIRST_WAIT_S
from tools.stub_ticker import packets
from tools.stub_ticker.server import StubTicker

SBIN, INFY, BANKS = InstrumentId("NSE:SBIN"), InstrumentId("NSE:INFY"), InstrumentId("NSE_INDEX:BANKNIFTY")
TOKENS = {SBIN: 779_521, INFY: 408_065}
KNOWN = {**TOKENS, BANKS: 260_105}
AT = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


@pytest.fixture
async def ticker() -> AsyncIterator[StubTicker]:
    async with StubTicker().running() as ticker:
        yield ticker


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    return logged_in(tmp_path / "kite.json", "today")


def logged_in(file: Path, token: str) -> Path:
    file.write_text(json.dumps({"api_key": "key", "access_token": token}))
    return file


class Running:
    """A feed with its connections running, and what came from it."""

    def __init__(self, feed: LiveFeed) -> None:
        self.feed = feed
        self.ticks: list[Tick] = []

    async def sees(self, count: int) -> list[Tick]:
        await until(lambda: len(self._pulled()) >= count)
        return self.ticks

    def _pulled(self) -> list[Tick]:
        self.ticks += self.feed.due(AT)
        return self.ticks


@pytest.fixture
async def running(ticker: StubTicker, credentials: Path) -> AsyncIterator[Running]:
    async with asyncio.TaskGroup() as group:
        feed = LiveFeed([source(ticker, credentials)], SystemClock(), lambda _: True)
        task = group.create_task(feed.run())
        feed.carry([SBIN])
        await until(lambda: ticker.subscribed == {TOKENS[SBIN]})
        yield Running(feed)
        task.cancel()


def source(ticker: StubTicker, credentials: Path, connections: int = 1) -> Ticker:
    return Ticker(KiteDialect(credentials, ticker.address), connections, KNOWN)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.02)


def price(token: int, rupees: float, at: datetime = AT, volume: int = 0) -> bytes:
    return packets.frame(packets.full(token, rupees, at, volume=volume))


async def test_a_price_arrives_with_its_depth_and_time(ticker: StubTicker, running: Running) -> None:
    body = packets.full(TOKENS[SBIN], 812.35, AT, bids=[(10, 812.3, 2)], asks=[(20, 812.4, 3)], close=800)
    await ticker.say(packets.frame(body), TOKENS[SBIN])
    [tick] = await running.sees(1)
    assert (tick.instrument, tick.at, tick.ltp, tick.bid, tick.ask, tick.ask_quantity) == (
        SBIN, AT, 812.35, 812.3, 812.4, 20,
    )  # fmt: skip
    assert running.feed.previous_closes == {SBIN: 800}


async def test_what_a_broker_counts_in_contracts_is_told_in_units(ticker: StubTicker, credentials: Path) -> None:
    """On paper an order of a lot of crude oil, 100 barrels, was never filled: a book of 20 contracts held no lot."""
    crude = InstrumentId("MCX:CRUDEOIL18DEC26FUT")
    login = Ticker(KiteDialect(credentials, ticker.address), 1, {crude: 7, SBIN: TOKENS[SBIN]}, {crude: 100})
    feed = LiveFeed([login], SystemClock(), lambda _: True)
    running = Running(feed)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        feed.carry([crude, SBIN])
        await until(lambda: ticker.subscribed == {7, TOKENS[SBIN]})
        for token in (7, TOKENS[SBIN]):
            body = packets.full(token, 5000, AT, volume=900, bids=[(10, 4999, 2)], asks=[(20, 5001, 3)])
            await ticker.say(packets.frame(body), token)
        ticks = {tick.instrument: tick for tick in await running.sees(2)}
        task.cancel()
    told = {name: (tick.volume, tick.bid_quantity, tick.asks[0].quantity) for name, tick in ticks.items()}
    assert told == {crude: (90_000, 1_000, 2_000), SBIN: (900, 10, 20)}
    assert ticks[crude].ask == 5001


async def test_the_exchange_s_range_of_the_day_is_known_of_what_trades_on_it(
    ticker: StubTicker, running: Running
) -> None:
    for volume, day in ((900, (805.0, 820.0, 801.5)), (901, (0.0, 0.0, 0.0)), (0, (805.0, 820.0, 801.5))):
        body = packets.full(TOKENS[SBIN], 812.35, AT, volume=volume, day=day)
        seen = len(running.ticks)
        await ticker.say(packets.frame(body), TOKENS[SBIN])
        await running.sees(seen + 1)
        assert running.feed.ranges == ({SBIN: day} if volume == 900 else {})


@pytest.mark.parametrize(
    ("instrument", "volume", "told", "kept"),
    [
        (SBIN, 0, (0, 12.5), 12.5),
        (SBIN, 0, (11.0, 12.5), 11.0),
        (SBIN, 0, (0, 0), 0),
        (SBIN, 75, (0, 12.5), 0),
        (BANKS, 0, (0, 58_000.0), 0),
    ],
    ids=["never traded", "not yet today", "without a close", "traded for nothing", "an index"],
)
async def test_what_was_never_traded_has_its_close_for_a_last_price_and_its_book(
    ticker: StubTicker, running: Running, instrument: InstrumentId, volume: int, told: tuple[float, float], kept: float
) -> None:
    """A strike of today's listing: refused for a price of 0 it had no quote and no depth, and nothing in it filled."""
    running.feed.carry([SBIN, instrument])
    await until(lambda: KNOWN[instrument] in ticker.subscribed)
    last, close = told
    body = packets.full(KNOWN[instrument], last, AT, volume=volume, bids=[(75, 11.9, 1)], close=close)
    await ticker.say(packets.frame(body), KNOWN[instrument])
    [tick] = await running.sees(1)
    assert (tick.ltp, tick.volume, tick.bid) == (kept, volume, 11.9)


async def test_ticks_of_one_second_keep_their_order_and_repeats_are_dropped(
    ticker: StubTicker, running: Running
) -> None:
    for volume in (1, 2, 2, 3):
        await ticker.say(price(TOKENS[SBIN], 100, volume=volume))
    ticks = await running.sees(3)
    assert [tick.volume for tick in ticks] == [1, 2, 3]
    assert ticks[0].at < ticks[1].at < ticks[2].at < AT + timedelta(seconds=1)


async def test_openalgo_1813_an_index_price_never_fills_an_option(ticker: StubTicker, running: Running) -> None:
    await ticker.say(price(256_265, 22_950))
    await ticker.say(price(TOKENS[SBIN], 812))
    assert [tick.ltp for tick in await running.sees(1)] == [812]
    assert running.feed.strangers == 1


async def test_subscriptions_follow_demand_without_a_new_connection(ticker: StubTicker, running: Running) -> None:
    running.feed.carry([INFY])
    await until(lambda: ticker.subscribed == {TOKENS[INFY]})
    running.feed.carry([INFY, SBIN])
    await until(lambda: ticker.subscribed == set(TOKENS.values()))
    assert len(ticker.logins) == 1


async def test_openalgo_340_lean_ib_80_a_lost_connection_comes_back_with_its_subscriptions(
    ticker: StubTicker, running: Running
) -> None:
    await ticker.drop_all()
    await until(lambda: len(ticker.logins) == 2 and ticker.subscribed == {TOKENS[SBIN]})
    await ticker.say(price(TOKENS[SBIN], 812))
    assert await running.sees(1)


async def test_a_broker_that_takes_a_connection_and_closes_it_at_once_is_asked_ever_more_seldom(
    ticker: StubTicker, credentials: Path
) -> None:
    """All day: who uses one of Kite's three connections elsewhere is refused one here."""
    ticker.most = 0
    feed = LiveFeed([source(ticker, credentials)], SystemClock(), lambda _: True)
    feed.carry([SBIN])
    loop = asyncio.get_running_loop()
    began = loop.time()
    task = asyncio.create_task(feed.run())
    await until(lambda: len(ticker.logins) >= 5)
    assert loop.time() - began >= (1 + 2 + 4 + 8) * FIRST_WAIT_S / 2
    task.cancel()
    await asyncio.wait([task])


async def test_openalgo_1419_token_rollover_without_restart(
    ticker: StubTicker, running: Running, credentials: Path
) -> None:
    ticker.login = "tomorrow"
    await ticker.drop_all()
    await until(lambda: ticker.logins.count("today") >= 2)
    logged_in(credentials, "tomorrow")
    await until(lambda: ticker.subscribed == {TOKENS[SBIN]})
    assert ticker.logins[-1] == "tomorrow"


async def test_openalgo_1396_connected_but_mute(
    ticker: StubTicker, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First it is subscribed again, then connected again."""
    monkeypatch.setattr(connection, "MUTE_SECONDS", 0.5)
    ticker.mute = True
    await until(lambda: ticker.subscriptions >= 2)
    await until(lambda: len(ticker.logins) >= 2)


async def test_a_closed_market_is_not_mute(
    ticker: StubTicker, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever trades that this connection does not carry."""
    monkeypatch.setattr(connection, "MUTE_SECONDS", 0.2)
    feed = LiveFeed([source(ticker, credentials)], SystemClock(), lambda exchange: exchange is Exchange.MCX)
    feed.carry([SBIN])
    task = asyncio.create_task(feed.run())
    await until(lambda: bool(ticker.subscribed))
    await asyncio.sleep(1.5)
    assert (len(ticker.logins), ticker.subscriptions) == (1, 1)
    task.cancel()
    await asyncio.wait([task])


async def test_a_connection_without_a_heartbeat_is_dead(
    ticker: StubTicker, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KiteDialect, "silent_after_s", 0.6)
    ticker.heartbeats = False
    await until(lambda: len(ticker.logins) >= 2)


async def test_openalgo_1591_another_login_takes_over_what_the_first_lost(
    ticker: StubTicker, credentials: Path
) -> None:
    async with StubTicker().running() as second:
        feed = LiveFeed([source(ticker, credentials), source(second, credentials)], SystemClock(), lambda _: True)
        feed.carry([SBIN])
        task = asyncio.create_task(feed.run())
        running = Running(feed)
        await until(lambda: bool(ticker.subscribed and second.subscribed))
        await ticker.say(price(TOKENS[SBIN], 100))
        await running.sees(1)
        await second.say(price(TOKENS[SBIN], 101))
        ticker.login = "nobody's"
        await ticker.drop_all()
        moment = 0

        async def hears_the_second() -> None:
            nonlocal moment
            while len(running.ticks) < 2:
                moment += 1
                await second.say(price(TOKENS[SBIN], 102, AT + timedelta(seconds=moment)))
                running.ticks += feed.due(AT)
                await asyncio.sleep(0.1)

        async with asyncio.timeout(15):
            await hears_the_second()
        assert [tick.ltp for tick in running.ticks] == [100, 102]
        assert feed.takeovers == 1
        task.cancel()
        await asyncio.wait([task])


async def test_many_instruments_are_dealt_over_the_connections(
    ticker: StubTicker, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KiteDialect, "most_tokens", 1)
    feed = LiveFeed([source(ticker, credentials, connections=2)], SystemClock(), lambda _: True)
    assert feed.most == 2
    feed.carry([SBIN, INFY])
    task = asyncio.create_task(feed.run())
    await until(lambda: sorted(len(tokens) for tokens in ticker.tokens.values()) == [1, 1])
    assert ticker.subscribed == set(TOKENS.values())
    task.cancel()
    await asyncio.wait([task])
