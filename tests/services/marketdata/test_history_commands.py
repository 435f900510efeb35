"""`python -m services.marketdata history …`, as an operator runs it, against the real QuestDB."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from libs.common import ids
from libs.common.contracts.ids import InstrumentId
from services.marketdata.store.series import TimeSeries
from tests.services.marketdata.samples import OPEN, tick
from tests.services.marketdata.test_history import candle, write
from tests.services.marketdata.test_history_broker import StubBroker

MINUTE = timedelta(minutes=1)
PAST = datetime(2021, 6, 9, 3, 45, tzinfo=UTC)
"""09:15 IST on a Wednesday that is over by any clock."""

pytestmark = pytest.mark.servers


@pytest.fixture
def name() -> InstrumentId:
    return InstrumentId(f"NSE:C{ids.new_id().hex[-10:].upper()}")


async def command(*words: str, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """How it ended, the lines of JSON that it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.marketdata", "history", *words,
        env={**os.environ, **variables}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, complaint = await process.communicate()
    return process.returncode or 0, [orjson.loads(line) for line in said.splitlines()], complaint.decode()


def lines(count: int) -> str:
    """Candles whose times name the ends of their minutes; the fifth has a spike, the seventh is missing."""
    rows = []
    for n in (n for n in range(count) if n != 7):
        at, high = PAST + (n + 1) * MINUTE, 130 if n == 5 else 100.2
        rows.append(f"{at.isoformat()},100,{high},99.8,100,{10 + n}")
    return "\n".join(["timestamp,open,high,low,close,volume", *rows])


async def test_files_are_imported_and_their_day_is_judged(
    series: TimeSeries, name: InstrumentId, tmp_path: Path
) -> None:
    csv, parquet = tmp_path / "candles.csv", tmp_path / "candles.parquet"
    csv.write_text(lines(375))
    pl.read_csv(csv).write_parquet(parquet)
    code, said, complaint = await command("import", name, str(csv), str(parquet), "--label", "end")
    assert code == 0, complaint
    assert [(each["kept"], each["duplicates"], each["outside_session"]) for each in said] == [(374, 0, 0)] * 2
    await series.applied("candles")
    variables = {"MARKET_HOURS": "exchange"}
    code, (report,), complaint = await command("quality", name, "2021-06-09", **variables)
    assert code == 0, complaint
    assert (report["candles"], report["expected"], [gap["minutes"] for gap in report["gaps"]]) == (374, 375, [1])
    assert [spike["price"] for spike in report["spikes"]] == [130]


async def test_a_file_of_another_shape_is_refused_in_one_sentence(name: InstrumentId, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("a,b\n1,2\n")
    code, said, complaint = await command("import", name, str(path), "--label", "start")
    assert (code, said) == (1, [])
    assert "2 columns" in complaint
    assert "Traceback" not in complaint


async def test_missing_history_is_fetched_from_the_broker(series: TimeSeries, name: InstrumentId) -> None:
    period = ("2026-08-01T00:00:00+05:30", "2026-08-11T00:00:00+05:30")
    async with StubBroker() as broker:
        variables = {"MARKETDATA_HISTORY_URL": broker.url, "MARKETDATA_HISTORY_API_KEY": "key"}
        code, said, complaint = await command("backfill", name, "5633", *period, **variables)
        assert (code, said) == (0, [{"instrument": name, "kept": 10}]), complaint
        broker.refusal = b'{"status": "error", "message": "Incorrect `api_key`", "error_type": "TokenException"}'
        code, said, complaint = await command("backfill", name, "5633", *period, **variables)
    assert (code, said) == (1, [])
    assert "Incorrect `api_key`" in complaint
    await series.applied("candles")
    count = f"SELECT count() FROM candles WHERE instrument = '{name}' AND source = 'BACKFILLED'"  # noqa: S608
    assert await series.ask(count) == [[10]]


async def test_candles_are_made_again_from_ticks(series: TimeSeries, name: InstrumentId) -> None:
    """The candle that was stored was wrong. QuestDB has not dropped the day, and it is over by any clock."""
    past = timedelta(days=-3)
    ticks = [tick(20 * n, 100 + n, n, name) for n in range(12)]
    moved = [each.model_copy(update={"at": each.at + past, "received_at": each.at + past}) for each in ticks]
    await write(series, [candle(name, OPEN + past, 555)], moved)
    code, said, complaint = await command("recompute", "2026-11-20", name)
    assert (code, said) == (0, [{"instrument": name, "candles": 4}]), complaint
    await series.applied("candles")
    closes = f"SELECT close FROM candles WHERE instrument = '{name}' ORDER BY ts"  # noqa: S608
    assert await series.ask(closes) == [[102.0], [105.0], [108.0], [111.0]]


async def test_a_day_is_archived_and_comes_back(series: TimeSeries, name: InstrumentId, tmp_path: Path) -> None:
    """A day far from every other test's: the whole day is put away."""
    far = timedelta(days=-3_000 - ids.new_id().int % 2_000)
    day = (OPEN + far).date().isoformat()
    await write(series, [candle(name, OPEN + far + n * MINUTE, 100 + n) for n in range(3)])
    variables = {"MARKETDATA_HISTORY_ARCHIVE": str(tmp_path)}
    code, (stored,), complaint = await command("archive", "candles", day, **variables)
    assert code == 0, complaint
    rows = pl.read_parquet(tmp_path / "candles" / f"{day}.parquet").filter(pl.col("instrument") == name)
    assert (stored["rows"] >= 3, rows["open"].to_list()) == (True, [100, 101, 102])
    await write(series, [candle(name, OPEN + far, 999)])
    code, (restored,), complaint = await command("restore", "candles", day, **variables)
    assert (code, restored["rows"]) == (0, stored["rows"]), complaint
    await series.applied("candles")
    opens = f"SELECT open FROM candles WHERE instrument = '{name}' ORDER BY ts"  # noqa: S608
    assert await series.ask(opens) == [[100.0], [101.0], [102.0]]


async def test_a_day_without_rows_is_not_archived_and_says_so(tmp_path: Path) -> None:
    code, said, complaint = await command("archive", "ticks", "1999-01-04", MARKETDATA_HISTORY_ARCHIVE=str(tmp_path))
    assert (code, said) == (1, [])
    assert "nothing of 1999-01-04" in complaint
    assert not await asyncio.to_thread(lambda: list(tmp_path.rglob("*.parquet")))
