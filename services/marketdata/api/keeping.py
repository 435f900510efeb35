"""What admins and operators do to stored history, by route or by command: import, backfill, judge."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

import polars as pl

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST, TradingCalendar
from services.marketdata.adapters import candle_files
from services.marketdata.adapters.candle_files import Form, Survey
from services.marketdata.adapters.kite_history import HistoryRefused, KiteHistory
from services.marketdata.domain.intervals import Interval
from services.marketdata.domain.quality import MINUTE, Minute, judge
from services.marketdata.domain.symbols import split
from services.marketdata.settings import BarLabel
from services.marketdata.store.series import CandleRow, Selection, TimeSeries

IMPORTED = "IMPORTED"
DAY = timedelta(days=1)
MOST_MINUTES = 1_440


async def import_candles(
    series: TimeSeries,
    instrument: InstrumentId,
    file: BinaryIO,
    form: Form,
    label: BarLabel,
    sessions: TradingCalendar | None,
) -> Survey:
    """Keep a file's candles; what is stored already is replaced. All of it or nothing: the file is read twice, first to
    find a broken row, and what breaks off while it is written leaves nothing. CandleFileUnreadable, CandleFileTooLong,
    TimeSeriesUnavailable.
    """
    found = await asyncio.to_thread(candle_files.survey, file, form, label, instrument, sessions)
    found_rows = candle_files.candles(file, form, label, instrument, sessions)
    await series.write_together(_rows(instrument, found_rows))
    return found


def _rows(instrument: InstrumentId, found: Iterator[pl.DataFrame]) -> Iterator[CandleRow]:
    for frame in found:
        micros_first = frame.with_columns(pl.col("start").dt.epoch("us"))
        for start, opened, high, low, close, volume, oi in micros_first.iter_rows():
            yield CandleRow(instrument, IMPORTED, start, opened, high, low, close, volume, oi)


async def backfill(
    series: TimeSeries,
    broker: KiteHistory,
    instrument: InstrumentId,
    token: str,
    start: datetime,
    end: datetime,
    now: datetime,
    lot: int = 1,
) -> int:
    """Fetch and keep the candles that start in [start, end); how many there were. The present minute is left out: its
    candle is not whole. HistoryRefused, which says what is kept, when the broker gives up in the middle: its requests
    are counted, so what it gave is not asked for again. `lot` are the units in a contract, where it counts contracts.
    """
    kept = 0
    until = min(end, now.replace(second=0, microsecond=0))
    try:
        async for rows in broker.minutes(instrument, token, start, until):
            units = [row._replace(volume=row.volume * lot, oi=row.oi * lot) for row in rows]
            kept += await series.write(candles=units)
    except HistoryRefused as error:
        raise HistoryRefused(f"{error}; the {kept} candles that it gave before are kept") from error
    return kept


async def quality(
    series: TimeSeries, calendar: TradingCalendar, instrument: InstrumentId, day: date, now: datetime
) -> dict[str, Any]:
    """The day's report; of a day that still goes on, up to the minute before the present one."""
    begins = datetime.combine(day, time(), IST)
    rows = await series.rows(Selection(instrument, Interval.ONE_MINUTE, begins, begins + DAY), MOST_MINUTES)
    candles = [_minute(row) for row in rows]
    session, ends = calendar.session(split(instrument)[0], day), calendar.last_end(split(instrument)[0], day)
    opens, closes = (session.open, min(session.close, now - MINUTE)) if session else (begins, begins)
    breaks = session.breaks if session else ()
    ticks, repeated = await series.repeated_ticks(instrument, begins, begins + DAY)
    return {
        "instrument": instrument,
        "day": day,
        "session": session is not None,
        **asdict(judge(candles, opens, max(opens, closes), min(ends or begins, now), breaks)),
        "ticks": ticks,
        "repeated_ticks": repeated,
    }


def _minute(row: dict[str, Any]) -> Minute:
    start = datetime.fromisoformat(row["start"])
    return Minute(start, row["open"], row["high"], row["low"], row["close"], row["volume"] or 0)
