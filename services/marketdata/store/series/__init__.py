"""Ticks and candles in QuestDB: rows over ILP, questions over HTTP."""

from services.marketdata.store.series.questions import Selection
from services.marketdata.store.series.rows import CandleRow, RowWriter, TickRow, candle_row
from services.marketdata.store.series.series import Candle, Format, TimeSeries, TimeSeriesUnavailable

__all__ = [
    "Candle",
    "CandleRow",
    "Format",
    "RowWriter",
    "Selection",
    "TickRow",
    "TimeSeries",
    "TimeSeriesUnavailable",
    "candle_row",
]
