"""A recorded day put into the history."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from libs.common import ids
from libs.common.contracts.ids import InstrumentId
from services.marketdata.memory import MarketMemory
from services.marketdata.store.series import TimeSeries, schema
from tests.services.marketdata.cable import Cable
from tests.services.marketdata.samples import INDIAN


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
    for _ in range(300):
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


def months(count: int, prices: float = 100) -> bytes:
    """One-minute candles of so many times 28 days, without an offset, with everything outside the sessions too."""
    start = pl.datetime_range(
        pl.datetime(2021, 3, 1), pl.datetime(2021, 3, 1) + pl.duration(days=28 * count), "1m", closed="left", eager=True
    )
    n = pl.int_range(len(start), eager=True) % 50
    frame = pl.DataFrame({"timestamp": start, "open": n + prices, "high": n + prices + 1.5, "low": n + prices - 2})
    text = frame.with_columns(close=pl.col("open") + 0.25, volume=n).write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
    return text.encode()


async def stored(client: httpx.AsyncClient, name: InstrumentId) -> list[dict[str, Any]]:
    wanted = {"format": "csv", "start": f"2021-01-01T00:00:00{INDIAN}", "end": f"2024-01-01T00:00:00{INDIAN}"}
    answer = await client.get(f"/history/{name}", params=wanted)
    assert answer.status_code == 200, answer.text
    return pl.read_csv(io.BytesIO(answer.content)).to_dicts()


async def test_the_same_file_twice_changes_nothing(
    client: httpx.AsyncClient, name: InstrumentId, series: TimeSeries
) -> None:
    """40,320 minutes in more than one piece, of which nineteen sessions are kept; Parquet says the same."""
    rows, buffer = months(1), io.BytesIO()
    pl.read_csv(rows, try_parse_dates=True).write_parquet(buffer)
    seen = []
    for form, content in (("csv", rows), ("csv", rows), ("parquet", buffer.getvalue())):
        done = await client.post(f"/history/{name}/import", params={"label": "start", "format": form}, content=content)
        assert done.status_code == 200, done.text
        said = done.json()
        await series.applied("candles")
        seen.append(await stored(client, name))
        assert (said["read"], said["kept"], said["duplicates"]) == (40_320, len(seen[0]), 0)
    assert len(seen[0]) == 375 * 19, "the 11th of March 2021 was a holiday"
    assert seen[0] == seen[1] == seen[2]


async def test_a_file_that_is_broken_at_its_end_keeps_nothing_of_itself(
    client: httpx.AsyncClient, name: InstrumentId, series: TimeSeries
) -> None:
    content = months(2) + b"2021-05-01 09:15:00,100,99,98,100,5\n"
    answer = await client.post(f"/history/{name}/import", params={"label": "start"}, content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "file_unreadable")
    assert answer.json()["detail"].startswith("line 80642: open 100 or close 100 is not between low 98 and high 99")
    await series.applied("candles")
    assert await stored(client, name) == []


def bytes_sent(count: int) -> Callable[[bytes], bool]:
    sent = 0

    def enough(data: bytes) -> bool:
        nonlocal sent
        sent += len(data)
        return sent > count

    return enough


WHOLE = {"label": "start", "outside": "true"}


@pytest.mark.parametrize("sent", [1_000, 2_000_000, 5_000_000])
async def test_of_a_file_that_questdb_leaves_in_the_middle_nothing_is_kept_until_it_is_sent_again(
    client: httpx.AsyncClient, name: InstrumentId, memory: MarketMemory, series: TimeSeries, sent: int
) -> None:
    """80,640 candles are some 10 MB on their way to QuestDB, in five writes."""
    url, content, here = f"/history/{name}/import", months(2), memory.series
    async with Cable(series.url) as cable:
        memory.series = TimeSeries(cable.url)
        cable.cut_after = bytes_sent(sent)
        answer = await client.post(url, params=WHOLE, content=content)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert cable.cut, "it failed for another reason"
        await series.applied("candles")
        cable.mend()
        assert await stored(client, name) == []
        assert (await client.post(url, params=WHOLE, content=content)).status_code == 200
        await memory.series.close()
        memory.series = here
    await series.applied("candles")
    assert len(await stored(client, name)) == 80_640


async def test_a_file_whose_last_word_is_lost_is_kept_whole_or_not_at_all_and_sent_again_it_is_there_once(
    client: httpx.AsyncClient, name: InstrumentId, memory: MarketMemory, series: TimeSeries
) -> None:
    url, content, here = f"/history/{name}/import", months(1), memory.series
    async with Cable(series.url) as cable:
        memory.series = TimeSeries(cable.url)
        cable.cut_after = lambda data: b"INSERT" in data
        answer = await client.post(url, params=WHOLE, content=content)
        assert (answer.status_code, answer.json()["code"], cable.cut) == (503, "unavailable", True)
        await memory.series.close()
        memory.series = here
    await asyncio.sleep(1)
    await series.applied("candles")
    assert len(await stored(client, name)) in (0, 40_320)
    assert (await client.post(url, params=WHOLE, content=content)).status_code == 200
    await series.applied("candles")
    assert len(await stored(client, name)) == 40_320


async def test_what_a_killed_import_left_is_forgotten_by_a_later_one_and_what_still_arrives_is_not(
    client: httpx.AsyncClient, name: InstrumentId, series: TimeSeries
) -> None:
    now = ids.new_id().hex
    left, arrives = f"arriving_{'0' * 12}{now[12:]}", f"arriving_{now}"
    for table in (left, arrives):
        await series.ask(schema.arriving(table))
    assert (await client.post(f"/history/{name}/import", params=WHOLE, content=months(1))).status_code == 200
    there = [table for (table,) in await series.ask(schema.ARRIVED)]
    assert (left in there, arrives in there) == (False, True)
    await series.ask(f"DROP TABLE {arrives}")


async def waiting(folder: Path) -> list[tuple[str, int]]:
    """Files that are open in the folder, by name and length."""
    return await asyncio.to_thread(lambda: list(_open_in(folder)))


def _open_in(folder: Path) -> Iterator[tuple[str, int]]:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if (name := str(link.readlink())).startswith(str(folder)):
                yield name, link.stat().st_size


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """There before marketdata is."""
    monkeypatch.setenv("MARKETDATA_HISTORY_UPLOADS", str(tmp_path))
    monkeypatch.setenv("HISTORY_IMPORT_BYTES", "8000000")
    return tmp_path


async def test_files_wait_on_disk_without_a_name_and_no_more_than_two_at_once(
    uploads: Path, client: httpx.AsyncClient, name: InstrumentId
) -> None:
    """So a process that is killed leaves nothing, and nobody fills the disk."""
    block, gate = b"2021-06-09 09:15:00,1,1,1,1\n" * 100_000, asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"start,open,high,low,close\n" + block
        await gate.wait()
        yield block[:28]

    url, label = f"/history/{name}/import", {"label": "start"}
    sending = [asyncio.create_task(client.post(url, params=label, content=slow())) for _ in range(2)]
    async with asyncio.timeout(10):
        while sum(size > 2_000_000 for _, size in await waiting(uploads)) < 2:
            await asyncio.sleep(0.01)
    third = await client.post(url, params=label, content=block)
    assert (third.status_code, third.json()["code"], third.headers["retry-after"]) == (429, "busy", "5")
    assert not await asyncio.to_thread(lambda: list(uploads.iterdir()))
    gate.set()
    assert [(each.status_code, each.json()["kept"]) for each in await asyncio.gather(*sending)] == [(200, 1)] * 2
    assert await waiting(uploads) == []


async def test_a_file_that_is_too_long_is_refused_and_leaves_its_place(
    uploads: Path, client: httpx.AsyncClient, name: InstrumentId
) -> None:
    url, label = f"/history/{name}/import", {"label": "start"}
    for _ in range(3):
        answer = await client.post(url, params=label, content=b"x" * 8_000_001)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert await waiting(uploads) == []
    assert (await client.post(url, params=label, content=months(1))).status_code == 200


async def test_a_file_for_nothing_that_is_listed_is_not_read(uploads: Path, client: httpx.AsyncClient) -> None:
    answer = await client.post("/history/NSE:NOBODY/import", params={"label": "start"}, content=b"x" * 8_000_001)
    assert (answer.status_code, answer.json()["code"]) == (404, "instrument_unknown")
