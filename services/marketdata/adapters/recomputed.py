"""Candles made again from the ticks that QuestDB keeps, by the same rule as the live ones."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import polars as pl

from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed
from libs.common.trading_calendar import IST
from services.marketdata.adapters.arrow import frame_of
from services.marketdata.domain.candles import LATENESS, CandleBook
from services.marketdata.domain.intervals import Interval
from services.marketdata.store.series import Format, Selection, TimeSeries

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


async def recomputed(series: TimeSeries, instrument: InstrumentId, day: date, now: datetime) -> Sequence[CandleClosed]:
    """An Indian day's candles, of minutes that can take no more ticks at `now`."""
    begins = datetime.combine(day, time(), IST)
    await series.applied("ticks")
    chosen = Selection(instrument, Interval.TICK, begins, begins + DAY)
    ticks = frame_of(b"".join([chunk async for chunk in series.export(chosen, Format.CSV)]))
    book = CandleBook()
    columns = ticks.select(
        pl.col("start").dt.epoch("us"), pl.col("received_at").dt.epoch("us"), "ltp", "ltq", "volume", "oi", "source"
    )
    for at, received_at, price, ltq, volume, oi, source in columns.iter_rows():
        book.add(instrument, at, received_at, price, ltq, volume, oi, source)
    whole = now - MINUTE - 2 * LATENESS
    return [candle for candle in book.close(2**62) if candle.start <= whole]
