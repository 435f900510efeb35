"""A recorded day on its whole road: feed, Kafka, the writer of candles, QuestDB, the history that is served."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common import http
from libs.common.clock import FixedClock
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from libs.common.runtime import Runtime
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.trading_calendar import IST
from services.marketdata.adapters.replay import ReplayFeed
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from services.marketdata.settings import Recording, ReplaySettings, Rescale
from services.marketdata.store import ContractStore
from services.marketdata.streams.feed import Pump
from tests.services.marketdata.samples import MINUTE, OPEN, keeping_all, listed
from tests.services.marketdata.test_recorded_candles import recorded
from tests.services.marketdata.test_recorded_ticks import DAYS, bars_of, paths_of, ticks_of
from tests.services.marketdata.test_series_writer import writing

MarketRuntime = Runtime[ContractStore, MarketMemory]

pytestmark = pytest.mark.servers
MIDNIGHT = datetime.combine(OPEN.date(), time(), IST)
DAY = timedelta(days=1)
SECOND, STEP = timedelta(seconds=1), timedelta(seconds=20)
MOMENTS = 60
"""Ticks among which a disorder of receipt stays: a minute, and some."""
DHAN = "masters/dhan/api-scrip-master-2026-07-01.csv"
ZERODHA = "masters/zerodha/instruments-nfo-bfo-2026-08.csv"


@pytest.fixture
async def runtime(group: str) -> AsyncIterator[MarketRuntime]:
    """When the day is over."""
    async with opened(app, clock=FixedClock(MIDNIGHT + DAY + MINUTE)) as runtime:
        await keeping_all(runtime.memory.series)
        runtime.memory.writer_group = group
        yield runtime


async def served(runtime: MarketRuntime, name: InstrumentId, count: int) -> list[dict[str, Any]]:
    """What the history route says of the day, once it has so many candles or nothing comes any more."""
    transport = httpx.ASGITransport(http.build_app(runtime))
    token = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
    wanted = {"start": MIDNIGHT.isoformat(), "end": (MIDNIGHT + DAY).isoformat(), "limit": "5000"}
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(transport=transport, base_url="http://test/internal", headers=token) as client:
        for _ in range(300):
            answer = await client.get(f"/history/{name}", params=wanted)
            assert answer.status_code == 200, answer.text
            found = answer.json()["candles"]
            if len(found) >= count:
                break
            await asyncio.sleep(0.1)
    return found


def shown(candles: Sequence[dict[str, Any]], *more: str) -> list[tuple[object, ...]]:
    names = ("open", "high", "low", "close", *more)
    return [(datetime.fromisoformat(each["start"]), *(each[name] for name in names)) for each in candles]


def market_of(shared_data: Path, folder: Path, symbol: str, month: str) -> Path:
    """The recorded month of an index as that of a share of this test alone: its row is a real one, its name is not."""
    for dump, row in ((DHAN, "NSE,E,3045,"), (ZERODHA, "NIFTY")):
        lines = (shared_data / dump).read_text().splitlines()
        target = folder / dump
        target.parent.mkdir(parents=True)
        kept = next(line for line in lines[1:] if row in line).replace("SBIN", symbol)
        target.write_text("\n".join([lines[0], kept]) + "\n")
    path = folder / f"candles-1min/{symbol}-2021-JUN.csv"
    path.parent.mkdir()
    path.write_bytes((shared_data / f"candles-1min/{month}.csv").read_bytes())
    return path


@pytest.mark.parametrize("month", ["NIFTY-2021-JUN", "BANKNIFTY-2022-DEC"])
async def test_recorded_minutes_that_are_replayed_for_a_day_are_served_as_they_were_recorded(
    runtime: MarketRuntime, shared_data: Path, tmp_path: Path, symbol: str, month: str
) -> None:
    """1,440 of them, of four recorded days: the recording begins at midnight, and a night takes no time."""
    path = market_of(shared_data, tmp_path, symbol, month)
    settings = ReplaySettings().model_copy(
        update={"shared_data": tmp_path, "recording": Recording.CANDLES, "rescale": Rescale.OFF}
    )
    feed = ReplayFeed(day=MIDNIGHT.date(), hours=MarketHours.CONTINUOUS, settings=settings)
    memory, name = runtime.memory, InstrumentId(f"NSE:{symbol}")
    memory.listed = {contract.instrument: contract for contract in feed.contracts}
    memory.board.begin_day(MIDNIGHT, memory.listed)
    pump = Pump(runtime, feed)
    for n in range(DAY // STEP):
        pump.step(MIDNIGHT + n * STEP)
    pump.step(MIDNIGHT + DAY - SECOND)
    await runtime.bulk.flush(10)
    assert memory.status.refused == {}
    async with writing(runtime):
        found = shown(await served(runtime, name, 1_440))
    expected = [(MIDNIGHT + n * MINUTE, *row[1:]) for n, row in enumerate([*recorded(path)][:1_440])]
    assert found == expected


def in_disorder(ticks: Sequence[Tick]) -> list[Tick]:
    """Each of them twice, and not in order."""
    drawn, received = random.Random(7), list[Tick]()
    for first in range(0, len(ticks), MOMENTS):
        some = [*ticks[first : first + MOMENTS]] * 2
        drawn.shuffle(some)
        received += some
    return received


@pytest.mark.parametrize("day", DAYS)
async def test_a_recorded_day_of_ticks_is_served_as_the_candles_that_its_file_holds(
    runtime: MarketRuntime, shared_data: Path, symbol: str, day: str
) -> None:
    """Moved to a day of which QuestDB keeps ticks."""
    contract, paths = listed(symbol), paths_of(shared_data, day)
    runtime.memory.listed = {contract.instrument: contract}
    ticks = ticks_of(paths, contract.instrument)
    later = OPEN.date() - ticks[0].at.date()
    moved = [each.model_copy(update={"at": each.at + later, "received_at": each.at + later}) for each in ticks]
    for n, each in enumerate(in_disorder(moved)):
        runtime.publish_bulk(each)
        if n % 20_000 == 0:
            await runtime.bulk.flush(10)
    await runtime.bulk.flush(10)
    expected = [(bar[0] + later, *bar[1:]) for bar in bars_of(paths)]
    async with writing(runtime):
        found = shown(await served(runtime, contract.instrument, len(expected)), "volume")
    assert found == expected
