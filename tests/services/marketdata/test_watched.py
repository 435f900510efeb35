"""What clients look at: learned from the gateways, told within milliseconds; chains and depth over the internal API."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis

from libs.common import http
from libs.common.clock import FixedClock
from libs.common.contracts.base import Message
from libs.common.contracts.enums import Exchange, OptionType
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import DepthLevel, Tick, WatchedConflated, WatchRenewed
from libs.common.contracts.options import ChainConflated, IvStanding
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours, load
from libs.common.testing.apps import opened
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.memory.board import QuoteBoard
from services.marketdata.memory.desk import ChainDesk
from services.marketdata.settings import PricingSettings
from services.marketdata.store import ContractStore
from services.marketdata.streams import forget_watchers, note_watchers, tell_chains, tell_watchers
from tests.services.marketdata.samples import SBIN, listed, tick
from tests.services.marketdata.test_chain import EXPIRY, KEY, MASTER, NOW, market, option, quote

MarketRuntime = Runtime[ContractStore, MarketMemory]
UNTIL = NOW + timedelta(seconds=15)


class Told:
    """What this process publishes, kept in place of the buffer to Kafka."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, message: Message, kept: object = None) -> None:
        self.messages.append(message)

    async def close(self) -> None: ...


@pytest.fixture
async def runtime(real_servers: None) -> AsyncIterator[MarketRuntime]:
    async with opened(app, clock=FixedClock(NOW)) as runtime:
        await runtime.memory.redis.aclose()
        runtime.memory.redis = Redis.from_url(urlsplit(os.environ["REDIS_URL"])._replace(path="/14").geturl())
        await runtime.memory.redis.flushdb()
        yield runtime


@contextlib.asynccontextmanager
async def running(*parts: Callable[[MarketRuntime], Awaitable[None]], runtime: MarketRuntime) -> AsyncIterator[Told]:
    told = Told()
    runtime.bulk = told  # type: ignore[assignment]
    tasks = [asyncio.ensure_future(part(runtime)) for part in parts]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def booked(seconds: float, ltp: float) -> Tick:
    levels = tuple(DepthLevel(price=ltp - 0.05 * n, quantity=10 * n, orders=n) for n in range(1, 21))
    return tick(seconds, ltp).model_copy(update={"bids": levels, "asks": levels})


def looking(**names: tuple[str, ...]) -> WatchRenewed:
    return WatchRenewed.model_validate({"watcher": "gateway-0", "until": UNTIL, **names})


async def test_only_what_somebody_looks_at_is_told_at_once(runtime: MarketRuntime) -> None:
    board = runtime.memory.board
    over = WatchRenewed(watcher="gateway-1", until=NOW, quotes=(InstrumentId("NSE:OVER"),))
    await note_watchers([over, looking(quotes=(SBIN,))], runtime.memory)
    async with running(forget_watchers, tell_watchers, runtime=runtime) as told:
        await until(lambda: board.watched.instruments == {SBIN})
        for n in range(3):
            board.take(booked(n, 100 + n))
        board.take(tick(1, 5, instrument=InstrumentId("NSE:OTHER")))
        await until(lambda: told.messages)
    (message,) = told.messages
    assert isinstance(message, WatchedConflated)
    assert [(each.instrument, each.ltp, each.high) for each in message.quotes] == [(SBIN, 102, 102)]
    assert message.depths == ()


async def test_a_book_that_somebody_begins_to_watch_is_told_as_it_is(runtime: MarketRuntime) -> None:
    runtime.memory.board.take(booked(0, 100))
    async with running(tell_watchers, runtime=runtime) as told:
        await note_watchers([looking(depths=(SBIN,))], runtime.memory)
        await until(lambda: told.messages)
    (message,) = told.messages
    assert isinstance(message, WatchedConflated)
    assert len(message.depths[0].bids) == 20


def put_chain_on(runtime: MarketRuntime) -> None:
    runtime.memory.listed = {contract.instrument: contract for contract in MASTER}
    runtime.memory.board.restore(market().values())


async def test_openalgo_327_885_a_watched_chain_is_told_whole_and_then_by_its_changed_rows(
    runtime: MarketRuntime,
) -> None:
    put_chain_on(runtime)
    await note_watchers([looking(chains=(str(KEY), "NFO:NOSUCH:2026-11-24"))], runtime.memory)
    async with running(tell_chains, runtime=runtime) as told:
        await until(lambda: told.messages)
        one = MASTER[4].instrument
        changed = runtime.memory.board.quotes[one].model_copy(update={"volume": 999})
        runtime.memory.board.quotes[one] = changed
        await until(lambda: len(told.messages) > 1)
    whole, event = told.messages[:2]
    assert isinstance(whole, ChainConflated)
    assert isinstance(event, ChainConflated)
    assert (whole.full, len(whole.rows)) == (True, len(MASTER) // 2)
    assert {side.standing for row in whole.rows for side in (row.call, row.put) if side} == {IvStanding.KNOWN}
    assert all(side.delta is not None for row in whole.rows for side in (row.call, row.put) if side)
    assert (event.full, [row.call.volume for row in event.rows if row.call]) == (False, [999])


@pytest.fixture
async def client(runtime: MarketRuntime) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(http.build_app(runtime), raise_app_exceptions=False)
    token = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=token) as client:
        yield client


async def test_a_chain_is_found_by_its_underlying_and_expiry(runtime: MarketRuntime, client: httpx.AsyncClient) -> None:
    put_chain_on(runtime)
    found = (await client.get("/internal/option-chain/NIFTY", params={"strikes": 2})).json()
    assert found["expiry"] == str(EXPIRY)
    assert [row["strike"] for row in found["rows"]] == [24_300, 24_350, 24_400, 24_450, 24_500]
    assert found["pcr"] == 2.0
    assert {row[side]["standing"] for row in found["rows"] for side in ("call", "put")} == {"KNOWN"}
    whole = (await client.get("/internal/option-chain/NSE_INDEX:NIFTY", params={"expiry": str(EXPIRY)})).json()
    assert len(whole["rows"]) == 21
    assert whole["max_pain"] == found["max_pain"]
    days = (await client.get("/internal/option-chain/NFO:NIFTY/expiries")).json()
    assert days == {"exchange": "NFO", "underlying": "NIFTY", "expiries": [str(EXPIRY)]}


async def test_unless_an_expiry_is_named_a_chain_is_of_the_first_that_still_trades(
    runtime: MarketRuntime, client: httpx.AsyncClient
) -> None:
    """Currencies end at half past noon of their day: until midnight the dead chain was answered with."""
    memory, clock = runtime.memory, runtime.clock
    memory.desk = ChainDesk(memory.board, TradingCalendar(MarketHours.EXCHANGE), load(PricingSettings))
    this, following = date(2026, 11, 20), date(2026, 11, 27)
    weeks = [
        option(84, OptionType.CE, day, "USDINR").model_copy(
            update={"exchange": Exchange.CDS, "instrument": InstrumentId(f"CDS:{day}")}
        )
        for day in (this, following)
    ]
    memory.listed = {contract.instrument: contract for contract in weeks}
    ends = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
    assert isinstance(clock, FixedClock)
    for now, expiry in ((ends - timedelta(seconds=1), this), (ends, following), (ends + timedelta(days=90), following)):
        clock.at = now
        found = (await client.get("/internal/option-chain/USDINR")).json()
        assert (found["chain"], found["expiry"]) == (f"CDS:USDINR:{expiry}", str(expiry))
    clock.at = ends
    dead = (await client.get("/internal/option-chain/USDINR", params={"expiry": str(this)})).json()
    assert (dead["expiry"], dead["market_open"]) == (str(this), False)


async def test_a_chain_that_is_not_listed_is_a_problem(runtime: MarketRuntime, client: httpx.AsyncClient) -> None:
    put_chain_on(runtime)
    unknown = await client.get("/internal/option-chain/HIFTY")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "chain_unknown")
    other = await client.get("/internal/option-chain/NIFTY", params={"expiry": "2026-11-25"})
    assert (other.status_code, other.json()["code"]) == (404, "expiry_unknown")
    assert other.json()["expiries"] == [str(EXPIRY)]
    assert (await client.get("/internal/option-chain/NIFTY", params={"strikes": -1})).status_code == 422


async def test_depth_has_as_many_levels_as_are_asked_for_and_its_age(
    runtime: MarketRuntime, client: httpx.AsyncClient
) -> None:
    runtime.memory.listed = {SBIN: listed("SBIN"), InstrumentId("NSE:RARE"): listed("RARE")}
    newest = booked(0, 100).model_copy(update={"at": NOW - timedelta(seconds=3)})
    runtime.memory.board.take(newest)
    found = (await client.get("/internal/depth/NSE:SBIN")).json()
    assert (len(found["bids"]), found["levels"], found["age_s"], found["market_open"]) == (5, 5, 3.0, True)
    assert len((await client.get("/internal/depth/NSE:SBIN", params={"levels": 20})).json()["asks"]) == 20
    for name, code in (("NSE:NOSUCH", "instrument_unknown"), ("NSE:RARE", "no_depth")):
        answer = await client.get(f"/internal/depth/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_the_open_interest_of_what_is_listed_no_more_is_not_kept(runtime: MarketRuntime) -> None:
    """Redis kept that of every contract there ever was, and a start reads all of it along with the quotes."""
    memory = runtime.memory
    gone, stays = MASTER[0].instrument, MASTER[1].instrument
    memory.board.restore([quote(each, 100.0, oi=1000, at=NOW - timedelta(days=1)) for each in (gone, stays)])
    for each in (gone, stays):
        memory.board.take(tick(0, 100, instrument=each).model_copy(update={"at": NOW, "received_at": NOW}))
    await memory.save_quotes(memory.board.unsaved())
    await memory.drop_quotes([gone])
    memory.board = QuoteBoard()
    assert [each.instrument for each in await memory.saved_quotes()] == [stays]
    assert memory.board.earlier_oi.known == {stays: 1000}


async def test_the_change_of_open_interest_counts_from_the_day_before_over_a_restart(runtime: MarketRuntime) -> None:
    memory = runtime.memory
    option = MASTER[0].instrument
    memory.board.restore([quote(option, 100.0, oi=1000, at=NOW - timedelta(days=1))])
    memory.board.take(tick(0, 100, instrument=option).model_copy(update={"at": NOW, "received_at": NOW, "oi": 1300}))
    assert memory.board.earlier_oi.known[option] == 1000
    await memory.board.earlier_oi.save(memory.redis)
    memory.board = QuoteBoard()
    await memory.board.earlier_oi.load(memory.redis)
    later = NOW + timedelta(minutes=1)
    memory.board.restore([quote(option, 100.0, oi=1300)])
    memory.board.take(
        tick(0, 100, instrument=option).model_copy(update={"at": later, "received_at": later, "oi": 1400})
    )
    assert memory.board.earlier_oi.known[option] == 1000
