"""History in pages and in every format, the same rows in each."""

import asyncio
import csv
import io
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import polars as pl

from libs.common.contracts.ids import InstrumentId
from services.marketdata.domain.intervals import Interval
from services.marketdata.memory import MarketMemory
from services.marketdata.store.series import Format, TimeSeries
from tests.services.marketdata.samples import INDIAN, MINUTE, OPEN
from tests.services.marketdata.test_history import candle, history, write


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


async def test_openalgo_1977_many_histories_at_once_and_the_slow_ones_stall_nobody(series: TimeSeries) -> None:
    """QuestDB takes two by itself. Eight who read slowly, 15 MB each, and one who comes after them."""
    rows = "SELECT x, x + 0.5 y, 'a text that fills the line up to its end' z FROM long_sequence(300000)"
    slow = [series.export_sql(rows, Format.CSV) for _ in range(8)]
    firsts = [await anext(each) for each in slow]
    assert all(first.startswith(b'"x"') for first in firsts)
    quick = b"".join([chunk async for chunk in series.export_sql("SELECT 1 x", Format.CSV)])
    assert quick.split() == [b'"x"', b"1"]
    for first, each in zip(firsts, slow, strict=True):
        assert (first + b"".join([chunk async for chunk in each])).count(b"\n") == 300_001
