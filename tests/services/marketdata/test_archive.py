"""Days of ticks and candles, archived and brought back; candles made again from their ticks."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from deploy.local import servers
from deploy.local.instance import Instance
from libs.common import ids
from libs.common.clock import SystemClock
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import DepthLevel
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.domain.candles import candles_of
from services.marketdata.domain.intervals import SUMMED, Interval
from services.marketdata.store.series import Candle, Selection, TimeSeries
from services.marketdata.store.series.archive import Archive, ArchiveRefused
from services.marketdata.store.series.questions import literal
from services.marketdata.store.series.schema import view_of
from tests.services.marketdata.samples import MINUTE, OPEN, tick
from tests.services.marketdata.test_history import FOREVER, candle, history, write


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
    """A day far from every other test's, since a whole day is dropped. It is as old as it is today: QuestDB counts from
    the newest ticks, and those may be of today.
    """
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
            assert (await archive.store(table, day, OPEN, drop=True))["rows"] == rows
            await series.applied(table)
            left = 0 if table == "ticks" else rows
            assert await series.ask(f"SELECT count() FROM {table} WHERE ts IN '{day}'") == [[left]]  # noqa: S608
            assert pl.read_parquet(archive.path(table, day)).height == rows
            assert (await archive.restore(table, day, SystemClock().now()))["rows"] == rows
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


async def test_what_comes_after_a_day_was_archived_does_not_replace_it(
    series: TimeSeries, name: InstrumentId, tmp_path: Path
) -> None:
    """A UTC day of MCX goes on until the night: archived in the evening and again the next day, its file held the last
    hours alone, and QuestDB nothing.
    """
    far = timedelta(days=-6_000 - ids.new_id().int % 2_000)
    moved = [
        each.model_copy(update={"at": each.at + far, "received_at": each.at + far})
        for each in (tick(n, 100 + n, n, name) for n in range(20))
    ]
    day, noon = moved[0].at.date(), moved[0].at + timedelta(hours=2)
    await series.ask("ALTER TABLE ticks SET TTL 30 YEARS")
    archive = Archive(series, tmp_path)
    try:
        await write(series, [], moved[:15])
        with pytest.raises(ArchiveRefused, match="not over"):
            await archive.store("ticks", day, noon, drop=True)
        assert (await archive.store("ticks", day, noon, drop=False))["rows"] == 15
        assert (await archive.store("ticks", day, noon + timedelta(days=1), drop=True))["rows"] == 15
        await write(series, [], moved[15:])
        with pytest.raises(ArchiveRefused, match="restore the file first"):
            await archive.store("ticks", day, noon + timedelta(days=2), drop=True)
        assert pl.read_parquet(archive.path("ticks", day)).height == 15
        await archive.restore("ticks", day, SystemClock().now())
        assert (await archive.store("ticks", day, noon + timedelta(days=2), drop=True))["rows"] == 20
        assert pl.read_parquet(archive.path("ticks", day)).height == 20
    finally:
        await archive.keep_for(3)


async def test_views_that_gave_up_are_filled_again(series: TimeSeries, name: InstrumentId) -> None:
    """Somebody dropped a month of candles by hand. QuestDB says a while after that it gave their views up."""
    far = timedelta(days=-3_000 - ids.new_id().int % 2_000)
    await write(series, [candle(name, OPEN + far), candle(name, OPEN)])
    await history(series, name, Interval.ONE_MINUTE, 1)
    await series.applied("candles")
    await series.ask(f"ALTER TABLE candles DROP PARTITION LIST '{(OPEN + far).date()}'")
    refilled: set[str] = set()
    async with asyncio.timeout(30):
        while len(refilled) < len(SUMMED):
            refilled |= set(await series.refill_views())
            await asyncio.sleep(0.1)
    await write(series, [candle(name, OPEN + MINUTE)])
    found: list[Candle] = []
    for _ in range(300):
        found = await history(series, name, Interval.FIVE_MINUTES, 1)
        if found and found[-1].volume == 20:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def test_candles_of_an_earlier_release_are_taken_over_though_that_was_broken_off_once(
    series: TimeSeries, name: InstrumentId
) -> None:
    """They were set aside, and whoever was to copy them was killed, or QuestDB took longer than it was waited for: they
    stayed there, and history began anew.
    """
    await series.ask(
        "CREATE TABLE IF NOT EXISTS candles_by_day (instrument SYMBOL, source SYMBOL, open DOUBLE, high DOUBLE,"
        " low DOUBLE, close DOUBLE, volume LONG, oi LONG, ts TIMESTAMP)"
        " TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, instrument)"
    )
    row = f"('{name}', 'LIVE', 100, 102, 99, 101, 10, 0, '{literal(OPEN)}')"
    await series.ask(f"INSERT INTO candles_by_day VALUES {row}")  # noqa: S608
    await series.applied("candles_by_day")
    await series.create_tables()
    await series.applied("candles")
    assert [(c.close, c.volume) for c in await history(series, name, Interval.ONE_MINUTE, 1)] == [(101.0, 10)]
    assert await series.ask("SELECT table_name FROM tables() WHERE table_name = 'candles_by_day'") == []


@pytest.fixture
def developers(real_servers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a QuestDB that can be told to give a table up."""
    ports = dict(zip(("questdb", "questdb_pg"), servers.free_ports(), strict=True))
    monkeypatch.setattr(Instance, "home", property(lambda _: tmp_path))
    monkeypatch.setattr(Instance, "port", lambda _, name: ports[name])
    program = servers.questdb(Instance("test"))
    environment = os.environ | {"QDB_DEV_MODE_ENABLED": "true"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(program.command, cwd=program.directory, env=environment, stdout=log, stderr=log) as running,
    ):
        deadline = time.monotonic() + 60
        while not servers.listens(ports["questdb"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield f"http://127.0.0.1:{ports['questdb']}"
        running.kill()


async def test_tables_that_questdb_gave_up_on_a_full_disk_are_written_on(developers: str, name: InstrumentId) -> None:
    """It took their rows and showed none, room or not: history ended there, nothing that expired was settled, and a
    marketdata that was started anew wrote nothing.
    """
    own = TimeSeries(developers)
    await own.create_tables()
    for what in ("TABLE ticks", "TABLE candles", f"MATERIALIZED VIEW {view_of(Interval.FIVE_MINUTES)}"):
        await own.ask(f"ALTER {what} SUSPEND WAL")
    await write(own, [candle(name, OPEN)])
    await own.create_tables()
    assert len(await history(own, name, Interval.FIVE_MINUTES, 1)) == 1
    assert await own.resume() == []
    await own.close()


async def test_a_day_that_is_not_there_is_neither_archived_nor_restored(series: TimeSeries, tmp_path: Path) -> None:
    archive = Archive(series, tmp_path)
    for asked in (
        archive.store("ticks", date(1999, 1, 1), OPEN, drop=True),
        archive.restore("ticks", date(1999, 1, 1), OPEN),
    ):
        with pytest.raises(ArchiveRefused):
            await asked
