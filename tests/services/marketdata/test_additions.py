"""History by route on real servers: every format, files, a stub of a broker, archives."""

import asyncio
import csv
import io
import os
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import pytest

from libs.common import http, ids
from libs.common.clock import FixedClock
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import DepthLevel
from libs.common.testing.apps import opened
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.app import app
from services.marketdata.domain.candles import candles_of
from services.marketdata.domain.intervals import Interval
from services.marketdata.memory import MarketMemory
from services.marketdata.store.series import Candle, Selection, TimeSeries
from services.marketdata.store.series.archive import Archive, ArchiveRefused
from tests.services.marketdata.samples import OPEN, listed, tick
from tests.services.marketdata.test_history import FOREVER, candle, history, write

MINUTE = timedelta(minutes=1)
INDIAN = "+05:30"


@pytest.fixture
def symbol() -> str:
    """QuestDB is shared: a stock of this test alone."""
    return f"H{ids.new_id().hex[-10:].upper()}"


@pytest.fixture
def name(symbol: str) -> InstrumentId:
    return InstrumentId(f"NSE:{symbol}")


@pytest.fixture
async def memory(client: httpx.AsyncClient) -> MarketMemory:
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    found: MarketMemory = transport.app.state.memory  # type: ignore[attr-defined]
    return found


@pytest.fixture
async def client(symbol: str) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(app, clock=FixedClock(OPEN + timedelta(days=30))) as runtime:
        contract = listed(symbol)
        runtime.memory.listed = {contract.instrument: contract}
        await runtime.memory.series.create_tables()
        application = http.build_app(runtime)
        application.state.memory = runtime.memory
        await runtime.pool.execute(_KNOWN_TO_BROKER, contract.instrument, symbol)
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        token = {"X-Internal-Token": os.environ["INTERNAL_TOKEN"]}
        async with httpx.AsyncClient(transport=transport, base_url="http://test/internal", headers=token) as client:
            yield client
        await runtime.pool.execute("DELETE FROM broker_contracts WHERE instrument = $1", contract.instrument)


_KNOWN_TO_BROKER = """
    INSERT INTO broker_contracts
        (source, instrument, exchange, symbol, name, kind, lot_size, tick_size, token, broker_symbol, listed, seen_on)
    VALUES ('zerodha', $1, 'NSE', $2, $2, 'EQUITY', 1, 0.05, '5633', $2, true, '2026-11-23'),
        ('dhan', $1, 'NSE', $2, $2, 'EQUITY', 1, 0.05, '77', $2, true, '2026-11-23')
"""


async def fifty(memory: MarketMemory, name: InstrumentId) -> None:
    await write(memory.series, [candle(name, OPEN + n * MINUTE, 100 + n) for n in range(50)])
    await history(memory.series, name, Interval.ONE_MINUTE, 50)


async def test_pages_of_json_lead_from_the_newest_candle_to_the_first(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId
) -> None:
    await fifty(memory, name)
    opens: list[float] = []
    until: str | None = None
    for _ in range(4):
        wanted = {"limit": "20"} | ({"end": until} if until else {})
        page = (await client.get(f"/history/{name}", params=wanted)).json()
        opens = [row["open"] for row in page["candles"]] + opens
        until = page["next"]
        if until is None:
            break
    assert opens == [100 + n for n in range(50)]


async def test_every_format_carries_the_same_rows(
    client: httpx.AsyncClient, memory: MarketMemory, name: InstrumentId
) -> None:
    await fifty(memory, name)

    async def content(form: str) -> bytes:
        answer = await client.get(f"/history/{name}", params={"format": form, "interval": "5m"})
        assert answer.status_code == 200
        return answer.content

    page: list[dict[str, Any]] = []
    for _ in range(300):
        page = orjson.loads(await content("json"))["candles"]
        if len(page) == 10 and page[-1]["volume"] == 50:
            break
        await asyncio.sleep(0.1)
    assert len(page) == 10
    rows = [(row["start"], row["open"], row["close"], row["volume"], row["source"]) for row in page]
    lines = list(csv.DictReader(io.StringIO((await content("csv")).decode())))
    assert [(r["start"], float(r["open"]), float(r["close"]), int(r["volume"]), r["source"]) for r in lines] == rows
    arrow = pl.read_ipc_stream(io.BytesIO(await content("arrow")))
    parquet = pl.read_parquet(io.BytesIO(await content("parquet")))
    objects = pl.read_ndjson(io.BytesIO(await content("ndjson")))
    starts = [datetime.fromisoformat(row["start"]) for row in page]
    assert arrow["start"].to_list() == starts
    assert [at.replace(tzinfo=UTC) for at in parquet["start"].dt.replace_time_zone(None).to_list()] == starts
    for frame in (arrow, parquet, objects):
        assert frame["close"].to_list() == [row["close"] for row in page]
        assert frame["volume"].to_list() == [row["volume"] for row in page]


async def test_an_empty_range_is_empty_in_every_format_and_no_error(
    client: httpx.AsyncClient, name: InstrumentId
) -> None:
    for form in ("json", "csv", "arrow", "parquet", "ndjson"):
        answer = await client.get(f"/history/{name}", params={"format": form})
        assert answer.status_code == 200, (form, answer.text)
        if form == "json":
            assert (answer.json()["candles"], answer.json()["next"]) == ([], None)
        if form == "arrow":
            assert pl.read_ipc_stream(io.BytesIO(answer.content)).height == 0


async def test_a_range_that_ends_before_it_begins_and_an_unknown_format_are_refused(
    client: httpx.AsyncClient, name: InstrumentId
) -> None:
    backwards = {"start": f"2026-11-24T09:15:00{INDIAN}", "end": f"2026-11-23T09:15:00{INDIAN}"}
    answer = await client.get(f"/history/{name}", params=backwards)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    answer = await client.get(f"/history/{name}", params={"format": "xls"})
    assert (answer.status_code, answer.json()["code"]) == (422, "format_unknown")


async def test_a_recorded_day_that_was_imported_is_served_as_it_was_recorded(
    client: httpx.AsyncClient, name: InstrumentId, shared_data: Path
) -> None:
    """Labels are the ends of the minutes; the print at 09:08 and those after the close are left out and counted."""
    content = (shared_data / "candles-1min/NIFTY-2021-JUN.csv").read_bytes()
    done = await client.post(f"/history/{name}/import", params={"label": "end"}, content=content)
    assert done.status_code == 200, done.text
    assert done.json()["kept"] == 8250
    day = {"start": f"2021-06-10T00:00:00{INDIAN}", "end": f"2021-06-11T00:00:00{INDIAN}", "limit": "1000"}
    served: list[dict[str, Any]] = []
    for _ in range(100):
        served = (await client.get(f"/history/{name}", params=day)).json()["candles"]
        if len(served) == 375:
            break
        await asyncio.sleep(0.1)
    recorded = [
        tuple(map(float, line.split(",")[3:7]))
        for line in content.decode().splitlines()
        if ",20210610," in line and "09:16" <= line.split(",")[2] <= "15:30"
    ]
    assert [(row["open"], row["high"], row["low"], row["close"]) for row in served] == recorded
    assert served[0]["start"] == "2021-06-10T03:45:00.000000Z"
    report = (await client.get(f"/history/{name}/quality", params={"day": "2021-06-10"})).json()
    assert report["candles"] == 375


async def test_an_import_must_say_its_label_and_have_a_known_shape(
    client: httpx.AsyncClient, name: InstrumentId
) -> None:
    assert (await client.post(f"/history/{name}/import", content=b"x")).status_code == 422
    answer = await client.post(f"/history/{name}/import", params={"label": "start"}, content=b"a,b\n1,2\n")
    assert (answer.status_code, answer.json()["code"]) == (422, "file_unreadable")


class StubBroker:
    """Answers as Kite Connect's documentation says, on a port of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.busy = 0
        self.refusal: bytes | None = None

    async def __aenter__(self) -> "StubBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = httpx.URL(request.split(" ")[1])
        status, body = 200, self.refusal or self._candles(target)
        self.asked.append(request)
        if self.busy:
            self.busy -= 1
            status, body = 429, b'{"status": "error", "message": "Too many requests", "error_type": "NetworkException"}'
        elif self.refusal:
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
    for _ in range(100):
        found = await memory.series.candles(chosen, 100)
        if len(found) == 90:
            break
        await asyncio.sleep(0.1)
    assert [(c.open, c.close, c.volume, c.oi, c.source) for c in found] == [
        (100.5, 100.75, 2499, 13667775, "BACKFILLED")
    ] * 90
    assert found[0].start == datetime(2026, 8, 1, 3, 45, tzinfo=UTC)


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


@pytest.fixture
async def series() -> AsyncIterator[TimeSeries]:
    series = TimeSeries(os.environ["QUESTDB_URL"])
    await series.create_tables()
    yield series
    await series.close()


async def test_a_day_s_candles_made_again_from_stored_ticks_are_the_same(
    series: TimeSeries, name: InstrumentId
) -> None:
    ticks = [tick(n * 1.7, 100 + n * 7 % 13, n * 10, name) for n in range(300)]
    ticks += [tick(58, 500, 5, name).model_copy(update={"received_at": OPEN + timedelta(minutes=2)})]
    await write(series, [], ticks)
    made = await recomputed(series, name, OPEN.date(), OPEN + timedelta(days=1))
    assert made == candles_of(ticks)


async def test_a_minute_that_still_takes_ticks_is_not_made_again(series: TimeSeries, name: InstrumentId) -> None:
    ticks = [tick(n * 1.7, 100 + n * 7 % 13, n * 10, name) for n in range(300)]
    await write(series, [], ticks)
    made = await recomputed(series, name, OPEN.date(), OPEN + timedelta(minutes=4, seconds=30))
    assert [candle.start for candle in made] == [OPEN + n * MINUTE for n in range(4)]


async def test_a_day_goes_to_a_parquet_file_and_comes_back_whole(
    series: TimeSeries, name: InstrumentId, tmp_path: Path
) -> None:
    """A day far from every other test's, since a whole day is dropped."""
    far = timedelta(days=-3_000 - ids.new_id().int % 2_000)
    five = tuple(DepthLevel(price=100 - n / 20, quantity=10 * n, orders=n) for n in range(1, 6))
    ticks = [
        each.model_copy(update={"at": each.at + far, "received_at": each.at + far, "bids": five})
        for each in (tick(n, 100 + n, n, name) for n in range(20))
    ]
    day = ticks[0].at.date()
    await series.ask("ALTER TABLE ticks SET TTL 30 YEARS")
    archive = Archive(series, tmp_path)
    try:
        await write(series, [candle(name, OPEN + far)], ticks)
        for table, rows in (("ticks", 20), ("candles", 1)):
            assert (await archive.store(table, day, drop=True))["rows"] == rows
            await series.applied(table)
            left = 0 if table == "ticks" else rows
            assert await series.ask(f"SELECT count() FROM {table} WHERE ts IN '{day}'") == [[left]]  # noqa: S608
            assert pl.read_parquet(archive.path(table, day)).height == rows
            assert (await archive.restore(table, day, OPEN))["rows"] == rows
            await series.applied(table)
        whole = "ltp, volume, bid, received_at, bids[1, 5], bids[2, 5], bids[3, 5], asks[1, 1]"
        found = await series.ask(f"SELECT {whole} FROM ticks WHERE ts IN '{day}'")  # noqa: S608
        assert len(found) == 20
        assert found[3][:3] == [103.0, 3, 102.95]
        assert found[3][4:] == [99.75, 50.0, 5.0, None]
        chosen = Selection(name, Interval.ONE_MINUTE, OPEN + far - FOREVER, OPEN + far + FOREVER)
        assert [c.close for c in await series.candles(chosen, 10)] == [101.0]
    finally:
        await archive.keep_for(3)


async def test_views_that_gave_up_are_filled_again_at_the_next_start(series: TimeSeries, name: InstrumentId) -> None:
    """Somebody dropped a day of candles by hand."""
    far = timedelta(days=-3_000 - ids.new_id().int % 2_000)
    await write(series, [candle(name, OPEN + far), candle(name, OPEN)])
    await history(series, name, Interval.ONE_MINUTE, 1)
    await series.applied("candles")
    await series.ask(f"ALTER TABLE candles DROP PARTITION LIST '{(OPEN + far).date()}'")
    await series.applied("candles")
    await series.create_tables()
    await write(series, [candle(name, OPEN + MINUTE)])
    found: list[Candle] = []
    for _ in range(300):
        found = await history(series, name, Interval.FIVE_MINUTES, 1)
        if found and found[-1].volume == 20:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def test_a_day_that_is_not_there_is_neither_archived_nor_restored(series: TimeSeries, tmp_path: Path) -> None:
    archive = Archive(series, tmp_path)
    for asked in (
        archive.store("ticks", date(1999, 1, 1), drop=True),
        archive.restore("ticks", date(1999, 1, 1), OPEN),
    ):
        with pytest.raises(ArchiveRefused):
            await asked
