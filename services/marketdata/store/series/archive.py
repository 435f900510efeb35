"""Days of ticks and candles in Parquet files, and back."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from libs.common.contracts.ids import InstrumentId
from services.marketdata.store.series.rows import CandleRow, Levels, TickRow
from services.marketdata.store.series.schema import TICK_DAYS
from services.marketdata.store.series.series import Format, TimeSeries

DAY = timedelta(days=1)


class ArchiveRefused(Exception):
    """Nothing was dropped or restored; says why."""


class Archive:
    """`FOLDER/TABLE/YYYY-MM-DD.parquet`, a UTC day each, readable by any tool."""

    def __init__(self, series: TimeSeries, folder: Path) -> None:
        self._series = series
        self._folder = folder

    def path(self, table: str, day: date) -> Path:
        return self._folder / table / f"{day.isoformat()}.parquet"

    async def store(self, table: str, day: date, now: datetime, *, drop: bool) -> dict[str, object]:
        """Write the day's file; QuestDB forgets a day of ticks only when it is over and the file was read back with
        every row. A file that holds more than QuestDB, which has what came after the rest was dropped, stays as it is.

        Candles are copied and stay: QuestDB would give up every longer candle with them.
        """
        drop = drop and table == "ticks"
        if drop and now < datetime.combine(day, time(), UTC) + DAY:
            raise ArchiveRefused(f"{day} is not over before 00:00 UTC: archive it then, or copy what there is (--keep)")
        await self._series.applied(table)
        where = f"WHERE ts IN '{day.isoformat()}'"
        ((count,),) = await self._series.ask(f"SELECT count() FROM {table} {where}")  # noqa: S608 - our own words
        rows = int(str(count))
        if not rows:
            raise ArchiveRefused(f"{table} has nothing of {day}")
        path = self.path(table, day)
        filed = await asyncio.to_thread(_rows_of, path)
        if filed > rows:
            raise ArchiveRefused(f"{path} has {filed} rows, {table} only {rows} of {day}: restore the file first")
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            async for chunk in self._series.export_sql(f"SELECT * FROM {table} {where}", Format.PARQUET):  # noqa: S608
                await asyncio.to_thread(file.write, chunk)
        found = await asyncio.to_thread(_rows_of, fresh)
        if found != rows:
            raise ArchiveRefused(f"{fresh} has {found} rows, {table} had {rows} of {day}; nothing was dropped")
        await asyncio.to_thread(fresh.replace, path)
        if drop:
            await self._series.ask(f"ALTER TABLE {table} DROP PARTITION LIST '{day.isoformat()}'")
        return {"table": table, "day": day, "rows": rows, "file": str(path), "dropped": drop}

    async def restore(self, table: str, day: date, now: datetime) -> dict[str, object]:
        """Bring a day's file back. Ticks are kept long enough then, until `ttl` says otherwise."""
        path = self.path(table, day)
        if not await asyncio.to_thread(path.exists):
            raise ArchiveRefused(f"there is no {path}")
        if table == "ticks":
            age = (now - datetime.combine(day, time(), UTC)) // DAY + 1
            await self.keep_for(max(TICK_DAYS, age + 1))
        frame = await asyncio.to_thread(pl.read_parquet, path)
        if table == "ticks":
            rows = await self._series.write(ticks=_ticks(frame))
        else:
            rows = await self._series.write(candles=_candles(frame))
        return {"table": table, "day": day, "rows": rows}

    async def keep_for(self, days: int) -> None:
        """QuestDB drops ticks that are older than so many days, counted from the newest."""
        await self._series.ask(f"ALTER TABLE ticks SET TTL {int(days)} DAYS")


def _rows_of(path: Path) -> int:
    return int(pl.scan_parquet(path).select(pl.len()).collect().item()) if path.exists() else 0


def _ticks(frame: pl.DataFrame) -> Iterator[TickRow]:
    times = frame.with_columns(pl.col("ts", "received_at").dt.epoch("us"))
    for row in times.iter_rows(named=True):
        yield TickRow(
            InstrumentId(row["instrument"]),
            row["source"],
            row["ts"],
            row["received_at"],
            row["ltp"],
            row["ltq"],
            row["volume"],
            row["oi"],
            row["bid"],
            row["ask"],
            row["bid_quantity"],
            row["ask_quantity"],
            _levels(row["bids"]),
            _levels(row["asks"]),
        )


def _levels(matrix: Any) -> Levels:
    return list(zip(*matrix, strict=True)) if matrix else ()


def _candles(frame: pl.DataFrame) -> Iterator[CandleRow]:
    names = ("instrument", "source", "ts", "open", "high", "low", "close", "volume", "oi")
    for row in frame.with_columns(pl.col("ts").dt.epoch("us")).select(names).iter_rows():
        yield CandleRow(*row)
