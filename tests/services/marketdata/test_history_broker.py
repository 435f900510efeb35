"""What is missing of the history, fetched from a broker."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest

from libs.common.contracts.ids import InstrumentId
from libs.common.testing.apps import opened
from services.marketdata.app import app
from services.marketdata.domain.intervals import Interval
from services.marketdata.memory import MarketMemory
from services.marketdata.store.series import Candle, Selection
from tests.services.marketdata.samples import INDIAN, OPEN, listed


class StubBroker:
    """Answers as Kite Connect's documentation says, on a port of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.busy = 0
        self.refusal: bytes | None = None
        self.refused_after = 0
        """How many answers come before the refusal."""

    async def __aenter__(self) -> "StubBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = httpx.URL(request.split(" ")[1])
        refusal = self.refusal if len(self.asked) >= self.refused_after else None
        status, body = 200, refusal or self._candles(target)
        self.asked.append(request)
        if self.busy:
            self.busy -= 1
            status, body = 429, b'{"status": "error", "message": "Too many requests", "error_type": "NetworkException"}'
        elif refusal:
            status = 403
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    def _candles(self, target: httpx.URL) -> bytes:
        """One candle a day at 09:15, from `from` to `to`, both included, as the broker does."""
        at = datetime.fromisoformat(target.params["from"])
        candles = []
        while at <= datetime.fromisoformat(target.params["to"]):
            label = at.replace(hour=9, minute=15, second=0).strftime("%Y-%m-%dT%H:%M:%S+0530")
            candles.append([label, 100.5, 101, 100, 100.75, 2499, 13667775])
            at += timedelta(days=1)
        return orjson.dumps({"status": "success", "data": {"candles": candles}})


async def test_missing_history_is_fetched_from_a_broker_window_by_window(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        monkeypatch.setenv("MARKETDATA_HISTORY_API_KEY", "key")
        monkeypatch.setenv("MARKETDATA_HISTORY_ACCESS_TOKEN", "token")
        broker.busy = 1
        wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-10-30T00:00:00{INDIAN}"}
        done = await client.post(f"/history/{name}/backfill", params=wanted)
    assert (done.status_code, done.json()["kept"]) == (200, 90)
    assert len(broker.asked) == 3, "one refused as too many, then two windows of 60 days"
    assert all("/instruments/historical/5633/minute" in request for request in broker.asked)
    assert "authorization: token key:token" in broker.asked[0].lower()
    chosen = Selection(name, Interval.ONE_MINUTE, OPEN - timedelta(days=200), OPEN)
    found: list[Candle] = []
    for _ in range(300):
        found = await memory.series.candles(chosen, 100)
        if len(found) == 90:
            break
        await asyncio.sleep(0.1)
    assert [(c.open, c.close, c.volume, c.oi, c.source) for c in found] == [
        (100.5, 100.75, 2499, 13667775, "BACKFILLED")
    ] * 90
    assert found[0].start == datetime(2026, 8, 1, 3, 45, tzinfo=UTC)


async def test_what_the_broker_counts_in_contracts_is_kept_in_units(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the live feed tells it: a minute's volume would be a hundredth of that of the next."""
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-08-02T00:00:00{INDIAN}"}
    async with opened(app) as runtime, StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        await runtime.pool.execute("UPDATE broker_contracts SET exchange = 'MCX' WHERE instrument = $1", name)
        await runtime.pool.execute(_OF_A_HUNDRED, name)
        try:
            assert (await client.post(f"/history/{name}/backfill", params=wanted)).json()["kept"] == 1
        finally:
            await runtime.pool.execute("DELETE FROM contracts WHERE instrument = $1", name)
    chosen = Selection(name, Interval.ONE_MINUTE, OPEN - timedelta(days=200), OPEN)
    async with asyncio.timeout(30):
        while not (found := await memory.series.candles(chosen, 100)):
            await asyncio.sleep(0.1)
    assert [(each.close, each.volume, each.oi) for each in found] == [(100.75, 249_900, 1_366_777_500)]


_OF_A_HUNDRED = """
    INSERT INTO contracts (instrument, exchange, symbol, name, kind, lot_size, tick_size, tradable, published_at)
    VALUES ($1, 'MCX', $1, $1, 'FUTURE', 100, 1, true, '2026-11-23')
"""


async def test_more_than_a_year_is_not_asked_for_at_once(
    client: httpx.AsyncClient, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years took longer than the gateway waits: the client heard 503, sent it again, and had it done twice."""
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        wanted = {"start": f"2016-08-01T00:00:00{INDIAN}", "end": f"2017-08-03T00:00:00{INDIAN}"}
        answer = await client.post(f"/history/{name}/backfill", params=wanted)
        assert (answer.status_code, answer.json()["code"], broker.asked) == (422, "invalid", [])
        assert "366" in answer.json()["detail"]
        a_year = {**wanted, "end": f"2017-08-02T00:00:00{INDIAN}"}
        assert (await client.post(f"/history/{name}/backfill", params=a_year)).json()["kept"] == 366


async def test_a_broker_is_asked_for_one_thing_after_the_other(
    client: httpx.AsyncClient, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts our requests: two backfills at once were both refused in the middle."""
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-10-30T00:00:00{INDIAN}"}
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        both = await asyncio.gather(*(client.post(f"/history/{name}/backfill", params=wanted) for _ in range(2)))
        assert sorted(answer.status_code for answer in both) == [200, 429]
        assert len(broker.asked) == 2
        assert (await client.post(f"/history/{name}/backfill", params=wanted)).status_code == 200


async def test_what_a_broker_refuses_is_told_with_its_words(
    client: httpx.AsyncClient, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-08-02T00:00:00{INDIAN}"}
    monkeypatch.delenv("MARKETDATA_HISTORY_URL", raising=False)
    answer = await client.post(f"/history/{name}/backfill", params=wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_configured")
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        broker.refusal = b'{"status": "error", "message": "Incorrect `api_key`", "error_type": "TokenException"}'
        answer = await client.post(f"/history/{name}/backfill", params=wanted)
    assert (answer.status_code, answer.json()["code"]) == (502, "broker_refused")
    assert "Incorrect `api_key`" in answer.json()["detail"]


async def test_what_a_broker_gave_before_it_refused_is_kept_and_told(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-10-30T00:00:00{INDIAN}"}
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        broker.refusal, broker.refused_after = b'{"status": "error", "message": "Session expired"}', 1
        answer = await client.post(f"/history/{name}/backfill", params=wanted)
    assert (answer.status_code, answer.json()["code"]) == (502, "broker_refused")
    assert answer.json()["detail"].endswith("Session expired; the 60 candles that it gave before are kept")
    await memory.series.applied("candles")
    chosen = Selection(name, Interval.ONE_MINUTE, OPEN - timedelta(days=200), OPEN)
    assert len(await memory.series.candles(chosen, 100)) == 60


async def test_the_minute_that_goes_on_is_not_kept_as_if_it_were_whole(
    client: httpx.AsyncClient, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker gives what it has of it so far, and it is 09:15."""
    wanted = {"start": f"2026-12-22T00:00:00{INDIAN}", "end": f"2026-12-24T00:00:00{INDIAN}"}
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        answer = await client.post(f"/history/{name}/backfill", params=wanted)
    assert (answer.status_code, answer.json()["kept"]) == (200, 1)


async def test_what_the_brokers_dump_does_not_have_is_not_asked_for(
    client: httpx.AsyncClient, memory: MarketMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = listed("UNKNOWNTOKITE")
    memory.listed = {unknown.instrument: unknown}
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-08-02T00:00:00{INDIAN}"}
    async with StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        answer = await client.post(f"/history/{unknown.instrument}/backfill", params=wanted)
        assert (answer.status_code, answer.json()["code"], broker.asked) == (422, "no_broker_token", [])
    assert "MARKETDATA_MASTERS" in answer.json()["detail"]


async def test_under_a_token_that_means_another_contract_now_nothing_is_asked_for(
    client: httpx.AsyncClient, name: InstrumentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanges give an expired contract's token to a new one, whose candles were kept as the old one's."""
    heir = f"{name}X"
    wanted = {"start": f"2026-08-01T00:00:00{INDIAN}", "end": f"2026-08-02T00:00:00{INDIAN}"}
    async with opened(app) as runtime, StubBroker() as broker:
        monkeypatch.setenv("MARKETDATA_HISTORY_URL", broker.url)
        await runtime.pool.execute("UPDATE broker_contracts SET listed = false WHERE instrument = $1", name)
        assert (await client.post(f"/history/{name}/backfill", params=wanted)).status_code == 200
        asked = len(broker.asked)
        await runtime.pool.execute(_HEIR, name, heir)
        try:
            answer = await client.post(f"/history/{name}/backfill", params=wanted)
        finally:
            await runtime.pool.execute("DELETE FROM broker_contracts WHERE instrument = $1", heir)
        assert (answer.status_code, answer.json()["code"]) == (422, "no_broker_token")
        assert heir in answer.json()["detail"]
        assert len(broker.asked) == asked


_HEIR = """
    INSERT INTO broker_contracts
        (source, instrument, exchange, symbol, name, kind, lot_size, tick_size, token, broker_symbol, listed, seen_on)
    SELECT source, $2, exchange, symbol, name, kind, lot_size, tick_size, token, broker_symbol, true, seen_on
    FROM broker_contracts WHERE instrument = $1 AND source = 'zerodha'
"""
