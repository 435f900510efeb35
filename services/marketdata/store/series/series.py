"""Questions to QuestDB over its HTTP interface, answered whole or as a stream of bytes."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TypeVar
from uuid import UUID

import httpx
from questdb import QuestDBError

from libs.common import ids
from libs.common.contracts.ids import InstrumentId
from services.marketdata.domain.candles import LATENESS, Micros, day_of, moment
from services.marketdata.store.series import schema
from services.marketdata.store.series.questions import Selection, literal, quoted
from services.marketdata.store.series.rows import CandleRow, RowWriter, TickRow

QUERY_SECONDS = 10.0
EXPORT_SECONDS = 60.0
APPLY_SECONDS = 60.0
APPLY_EVERY = 0.05
TAKE_OVER_SECONDS = 60.0
COPY_SECONDS = 600.0
"""A hundred million candles of an earlier release, ten years of a hundred instruments, take some minutes."""
ARRIVES_MILLISECONDS = 3_600_000
"""What has not been taken over an hour after it began never will be."""
CHUNK = 262_144
ROWS_AT_ONCE = 20_000

T = TypeVar("T")


class Format(StrEnum):
    """What QuestDB itself can write."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Candle:
    start: datetime
    source: str
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


class TimeSeriesUnavailable(ConnectionError):
    """QuestDB did not answer, or refused."""


class TimeSeries:
    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(base_url=url, timeout=QUERY_SECONDS, trust_env=False)
        self._writing = threading.Lock()
        self._writer: RowWriter | None = None

    async def close(self) -> None:
        await self._client.aclose()
        if self._writer is not None:
            self._writer.close()

    async def create_tables(self) -> None:
        """Whatever is missing; tables of an earlier release are brought up to date."""
        await self.resume()
        await self.ask(schema.TICKS)
        for statement in schema.NEW_COLUMNS:
            await self.ask(statement)
        old = [str(table) for (table,) in await self.ask(schema.PARTITIONED_BY_DAY)]
        if "candles" in old:
            await self._set_aside()
        await self.ask(schema.CANDLES)
        if old:
            await self.ask(schema.COPY_OLD_CANDLES, COPY_SECONDS)
            await self.ask(f"DROP TABLE IF EXISTS {schema.OLD_CANDLES}")
        for statement in schema.views():
            await self.ask(statement)
        await self.refill_views()

    async def resume(self) -> list[str]:
        """Has QuestDB write on to the tables that it gave up, as on a full disk: it goes on taking rows for them, and
        shows none. Which they are.
        """
        given_up = [str(table) for (table,) in await self.ask(schema.SUSPENDED)]
        for table in given_up:
            await self.ask(schema.resume(table))
        return given_up

    async def refill_views(self) -> list[str]:
        """Has QuestDB fill the views again that it gave up, and keep them up to date from then on; which they are."""
        given_up = [str(view) for (view,) in await self.ask(schema.INVALID)]
        for view in given_up:
            await self.ask(schema.REFRESH.format(view))
        return given_up

    async def _set_aside(self) -> None:
        """Candles that are partitioned by the day. Whoever is killed before they are copied leaves that to the next."""
        for statement in schema.drop_views():
            await self.ask(statement)
        await self.applied("candles")
        await self.ask(f"RENAME TABLE candles TO {schema.OLD_CANDLES}")

    async def rows(self, selection: Selection, newest: int) -> list[dict[str, object]]:
        """The newest rows of the selection, oldest first."""
        names = ("start", *selection.columns)
        return [dict(zip(names, row, strict=True)) for row in await self.ask(selection.sql(newest))]

    async def candles(self, selection: Selection, newest: int) -> list[Candle]:
        return [_candle(row) for row in await self.ask(selection.sql(newest))]

    async def close_before(self, instrument: InstrumentId, at: datetime) -> tuple[datetime, float] | None:
        """The last one-minute candle that starts before `at`, as it was traded: its start and close."""
        rows = await self.ask(
            f"SELECT ts, close FROM candles WHERE instrument = '{quoted(instrument)}'"  # noqa: S608 - see questions.py
            f" AND ts < '{literal(at)}' LATEST ON ts PARTITION BY instrument"
        )
        return (datetime.fromisoformat(str(rows[0][0])), float(str(rows[0][1]))) if rows else None

    def export(self, selection: Selection, form: Format) -> AsyncIterator[bytes]:
        """The whole selection as QuestDB writes it, by the chunk: nobody on the way holds more than one."""
        return self.export_sql(selection.sql(), form)

    async def export_sql(self, statement: str, form: Format) -> AsyncIterator[bytes]:
        question = {"query": statement, "fmt": form.value}
        try:
            async with self._client.stream("GET", "/exp", params=question, timeout=EXPORT_SECONDS) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise TimeSeriesUnavailable(
                        f"QuestDB refused {answer.status_code}: {(await answer.aread())[:300]!r}"
                    )
                async for chunk in answer.aiter_raw(CHUNK):
                    yield chunk
        except httpx.HTTPError as error:
            raise TimeSeriesUnavailable(f"QuestDB does not answer: {error!r}") from error

    async def write(self, *, ticks: Iterable[TickRow] = (), candles: Iterable[CandleRow] = ()) -> int:
        """However many rows; how many they were. TimeSeriesUnavailable when not all arrived: write them again then."""
        return await self._written(ticks, candles)

    async def write_together(self, candles: Iterable[CandleRow]) -> int:
        """All of these candles or none, however many they are and whoever goes away meanwhile; how many they were.

        They gather in a table of their own, which is taken over in one transaction. TimeSeriesUnavailable when that is
        not known to have been: write them again then, it does no harm.
        """
        own = ids.new_id()
        table = f"{schema.ARRIVING}{own.hex}"
        await self._forget_arrivals(own)
        await self.ask(schema.arriving(table))
        try:
            written = await self._written((), candles, table)
            await self.applied(table)
            await self.ask(schema.take_over(table), TAKE_OVER_SECONDS)
        finally:
            with contextlib.suppress(TimeSeriesUnavailable):
                await self.ask(f"DROP TABLE IF EXISTS {table}")
        return written

    async def _forget_arrivals(self, now: UUID) -> None:
        """Of those who were killed while they wrote: tables that began long before this new id."""
        began = f"{schema.ARRIVING}{(now.int >> 80) - ARRIVES_MILLISECONDS:012x}"
        for (table,) in await self.ask(schema.ARRIVED):
            if str(table) < began:
                await self.ask(f"DROP TABLE IF EXISTS {table}")

    async def _written(self, ticks: Iterable[TickRow], candles: Iterable[CandleRow], table: str = "candles") -> int:
        try:
            return await asyncio.to_thread(self._write, ticks, candles, table)
        except (QuestDBError, OSError) as error:
            raise TimeSeriesUnavailable(f"QuestDB did not take the rows: {error}") from error

    def _write(self, ticks: Iterable[TickRow], candles: Iterable[CandleRow], table: str) -> int:
        """One connection for all, since each costs QuestDB a thread's attention; after a failure a new one."""
        with self._writing:
            writer, self._writer = self._writer or RowWriter(self.url), None
            try:
                written = _put(writer, ticks, candles, table)
            except BaseException:
                writer.close()
                raise
            self._writer = writer
        return written

    async def repeated_ticks(self, instrument: InstrumentId, start: datetime, end: datetime) -> tuple[int, int]:
        """How many ticks there are, and how many say nothing that the one before had not said."""
        same = " AND ".join(
            f"{each} = lag({each}) OVER (ORDER BY ts)" for each in ("ltp", "volume", "bid", "ask", "oi")
        )
        ((count, repeated),) = await self.ask(
            f"SELECT count(), sum(CASE WHEN again THEN 1 ELSE 0 END) FROM (SELECT {same} AS again FROM ticks"  # noqa: S608
            f" WHERE instrument = '{quoted(instrument)}' AND ts >= '{literal(start)}' AND ts < '{literal(end)}')"
        )
        return int(str(count)), int(str(repeated or 0))

    async def counted(self, before: Micros) -> Mapping[InstrumentId, tuple[int, int]]:
        """Each instrument's day and its volume in the candles of that day's minutes before `before`.

        Waits for what was written to be visible. Ticks that came too late for their candle are left out, as there.
        """
        await self.applied("ticks")
        day = day_of(before)
        start = moment(before - (before + _IST) % _DAY)
        late = f"dateadd('s', {60 + int(LATENESS.total_seconds())}, timestamp_floor('m', ts))"
        rows = await self.ask(
            f"SELECT instrument, max(volume) FROM ticks WHERE ts >= '{literal(start)}'"  # noqa: S608 - our own words
            f" AND ts < '{literal(moment(before))}' AND received_at < {late}"
        )
        return {InstrumentId(str(row[0])): (day, int(str(row[1] or 0))) for row in rows}

    async def applied(self, table: str) -> None:
        """Until everything written to the table by now can be read. TimeSeriesUnavailable when that takes too long."""
        question = f"SELECT writerTxn, sequencerTxn FROM wal_tables() WHERE name = '{table}'"  # noqa: S608 - our own word
        rows = await self.ask(question)
        if not rows:
            raise TimeSeriesUnavailable(f"QuestDB has no table {table} yet")
        ((applied, written),) = rows
        try:
            async with asyncio.timeout(APPLY_SECONDS):
                while int(str(applied)) < int(str(written)):
                    await asyncio.sleep(APPLY_EVERY)
                    ((applied, _),) = await self.ask(question)
        except TimeoutError as error:
            raise TimeSeriesUnavailable(f"QuestDB has not applied what was written to {table}") from error

    async def ask(self, statement: str, seconds: float = QUERY_SECONDS) -> list[list[object]]:
        question = {"query": statement, "timings": "false"}
        try:
            answer = await self._client.get("/exec", params=question, timeout=seconds)
        except httpx.HTTPError as error:
            raise TimeSeriesUnavailable(f"QuestDB does not answer: {error!r}") from error
        if answer.status_code != httpx.codes.OK:
            raise TimeSeriesUnavailable(f"QuestDB refused {answer.status_code}: {_reason(answer)}")
        rows: list[list[object]] = answer.json().get("dataset", [])
        return rows


_DAY = 86_400_000_000
_IST = 19_800_000_000


def _put(writer: RowWriter, ticks: Iterable[TickRow], candles: Iterable[CandleRow], table: str) -> int:
    written = 0
    for some in batches(ticks, ROWS_AT_ONCE):
        writer.add_ticks(some)
        writer.flush()
        written += len(some)
    for more in batches(candles, ROWS_AT_ONCE):
        writer.add_candles(more, table)
        writer.flush()
        written += len(more)
    return written


def batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(rows)
    while some := list(islice(remaining, size)):
        yield some


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]


def _candle(row: Sequence[object]) -> Candle:
    start, source, opened, high, low, closed, volume, oi = row
    return Candle(
        datetime.fromisoformat(str(start)),
        str(source),
        float(str(opened)),
        float(str(high)),
        float(str(low)),
        float(str(closed)),
        int(str(volume or 0)),
        int(str(oi or 0)),
    )
