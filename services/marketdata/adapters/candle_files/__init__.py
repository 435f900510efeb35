"""One-minute candles from CSV and Parquet files of any vendor, in one form, by the piece: memory holds one piece.

Two shapes are known. With a header: a time (`start`, `timestamp`, `datetime`, `time` or `date`), `open`, `high`, `low`,
`close`, and `volume` and `oi` where there are any. Without: `symbol,yyyymmdd,HH:MM,open,high,low,close[,volume[,oi]]`.
Times without an offset are Indian. Vendors label a bar with the start or the end of its minute: the label is always
said, never guessed.
"""

from services.marketdata.adapters.candle_files.candles import Survey, candles, survey
from services.marketdata.adapters.candle_files.pieces import MOST_ROWS, CandleFileTooLong, CandleFileUnreadable, Form

__all__ = ["MOST_ROWS", "CandleFileTooLong", "CandleFileUnreadable", "Form", "Survey", "candles", "survey"]
