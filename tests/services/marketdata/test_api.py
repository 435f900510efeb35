import asyncio
import os
from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from libs.common import http, ids
from libs.common.clock import FixedClock
from libs.common.market_days import MarketDays
from libs.common.settings import MarketHours
from libs.common.testing.apps import opened
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.app import app
from services.marketdata.memory import MarketMemory
from tests.services.marketdata.samples import OPEN, listed, tick
from tests.services.marketdata.test_history import candle, write

RARE = f"M&{ids.new_id().hex[-8:].upper()}"
"""A stock of this run alone: QuestDB is shared."""


@pytest.fixture
async def client(real_servers: None) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        runtime.memory.listed = {c.instrument: c for c in (listed("SBIN"), listed(RARE))}
        application = http.build_app(runtime)
        application.state.memory = runtime.memory
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        token = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=token) as client:
            yield client


@pytest.mark.parametrize("token", ["", "wrong", "wröng"])
async def test_without_the_internal_token_nothing_is_served(client: httpx.AsyncClient, token: str) -> None:
    for path in ("/internal/status", "/internal/history/NSE:SBIN"):
        answer = await client.get(path, headers=[(b"X-Internal-Token", token.encode("latin-1"))])
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"


async def test_an_instrument_that_is_not_in_the_master_is_a_problem_that_names_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/internal/history/NSE:NOSUCH")
    assert answer.status_code == 404
    assert answer.json()["code"] == "instrument_unknown"
    assert "NSE:NOSUCH" in answer.json()["detail"]


async def test_an_unknown_interval_is_a_problem_that_lists_the_known_ones(client: httpx.AsyncClient) -> None:
    answer = await client.get("/internal/history/NSE:SBIN", params={"interval": "7m"})
    assert answer.status_code == 422
    assert "1m, 3m, 5m, 10m, 15m, 30m, 1h, 1d" in answer.json()["detail"]


async def test_a_time_without_an_offset_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/internal/history/NSE:SBIN", params={"start": "2026-11-23T09:15:00"})
    assert answer.status_code == 422
    assert "offset" in answer.json()["detail"]


async def test_history_of_an_instrument_is_served_oldest_first(client: httpx.AsyncClient, memory: MarketMemory) -> None:
    await memory.series.create_tables()
    await write(memory.series, [candle(listed(RARE).instrument, OPEN)])
    period = {"start": "2026-11-23T09:00:00+05:30", "end": "2026-11-23T10:00:00+05:30"}
    body: dict[str, Any] = {"candles": []}
    for _ in range(300):
        answer = await client.get(f"/internal/history/NSE:{quote(RARE)}", params=period)
        assert answer.status_code == 200, answer.text
        if (body := answer.json())["candles"]:
            break
        await asyncio.sleep(0.1)
    assert (body["instrument"], body["interval"]) == (f"NSE:{RARE}", "1m")
    assert body["candles"][0]["open"] == 100.0
    assert body["candles"][0]["start"] == "2026-11-23T03:45:00.000000Z"


async def test_status_tells_how_old_the_last_tick_is(client: httpx.AsyncClient, memory: MarketMemory) -> None:
    memory.status.last_tick_at = tick(-3).at
    answer = await client.get("/internal/status")
    assert answer.status_code == 200
    assert answer.json()["last_tick_age_s"] == 3


async def test_status_tells_to_which_day_holidays_are_known(client: httpx.AsyncClient, memory: MarketMemory) -> None:
    told = []
    for calendar in (
        TradingCalendar(MarketHours.CONTINUOUS),
        TradingCalendar(MarketHours.EXCHANGE, MarketDays()),
        TradingCalendar(MarketHours.EXCHANGE, MarketDays(known_until=date(2027, 12, 31))),
    ):
        memory.calendar = calendar
        body = (await client.get("/internal/status")).json()
        told.append((body["holidays_known_until"], body["sessions_provisional"]))
    assert told == [(None, False), ("2026-12-31", False), ("2027-12-31", False)]
