"""The recorded months of NIFTY and BANKNIFTY: what is imported, replayed and served equals what was recorded."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import Tick
from libs.common.settings import MarketHours
from libs.common.trading_calendar import IST, TradingCalendar
from services.marketdata.adapters import candle_files
from services.marketdata.adapters.candle_files import CandleFileUnreadable, clean
from services.marketdata.adapters.replay.recordings import read_candles
from services.marketdata.domain.candles import candles_of
from services.marketdata.settings import BarLabel
from tests.services.marketdata.samples import SBIN

NIFTY = InstrumentId("NSE_INDEX:NIFTY")
SESSIONS = TradingCalendar(MarketHours.EXCHANGE)
MINUTE = timedelta(minutes=1)
Row = tuple[datetime, float, float, float, float]


def recorded(path: Path) -> Iterator[Row]:
    """The file as it stands, read with nothing of ours; its labels are the ends of the minutes."""
    with path.open(newline="") as file:
        for _, day, minute, opened, high, low, close, *_ in csv.reader(file):
            end = datetime.strptime(f"{day} {minute}", "%Y%m%d %H:%M").replace(tzinfo=IST)
            if "09:16" <= minute <= "15:30":
                yield end - MINUTE, float(opened), float(high), float(low), float(close)


@pytest.mark.parametrize("month", ["NIFTY-2021-JAN", "NIFTY-2021-JUN", "BANKNIFTY-2021-APR", "BANKNIFTY-2022-DEC"])
def test_the_imported_minutes_are_the_recorded_ones_of_the_session(shared_data: Path, month: str) -> None:
    path = shared_data / f"candles-1min/{month}.csv"
    cleaned = clean(candle_files.read_csv(path.read_bytes()), BarLabel.END, NIFTY, SESSIONS)
    rows = [tuple(row[:5]) for row in cleaned.candles.iter_rows()]
    assert rows == list(recorded(path))
    assert cleaned.read == cleaned.candles.height + cleaned.outside_session
    assert cleaned.outside_session > 0


@pytest.mark.parametrize("month", ["NIFTY-2021-JUN", "BANKNIFTY-2022-JUN"])
def test_a_recorded_month_played_as_ticks_makes_the_recorded_candles_again(shared_data: Path, month: str) -> None:
    path = shared_data / f"candles-1min/{month}.csv"
    ticks = [
        Tick(instrument=NIFTY, at=row.at, received_at=row.at, source=FeedSource.REPLAYED, ltp=row.price)
        for row in read_candles(path, BarLabel.END)
        if "09:15" <= row.at.strftime("%H:%M") < "15:30"
    ]
    made = [(c.start.astimezone(IST), c.open, c.high, c.low, c.close) for c in candles_of(reversed(ticks))]
    assert made == list(recorded(path))


def test_the_label_moves_every_bar_by_its_minute(shared_data: Path) -> None:
    frame = candle_files.read_csv((shared_data / "candles-1min/NIFTY-2021-JUN.csv").read_bytes())
    ends = clean(frame, BarLabel.END, NIFTY, None).candles["start"]
    starts = clean(frame, BarLabel.START, NIFTY, None).candles["start"]
    assert (starts - ends).unique().to_list() == [MINUTE]


HEADED = """timestamp,Open,High,Low,Close,Volume
2021-06-09T09:15:00+05:30,427.5,428,427,427.2,1000
2021-06-09T09:16:00+05:30,427.2,429,427,428.8,900
2021-06-09T09:16:00+05:30,427.2,429,427,428.9,950
2021-06-09T09:17:00+05:30,428.8,420,427,428.8,900
2021-06-09T09:18:00+05:30,0,429,427,428.8,900
2021-06-09T16:18:00+05:30,428,429,427,428.8,900
2021-06-13T10:00:00+05:30,428,429,427,428.8,900
"""


def test_a_file_with_a_header_is_cleaned_and_what_is_left_out_is_counted() -> None:
    """The last of two candles of one minute counts; the 13th of June 2021 was a Sunday."""
    cleaned = clean(candle_files.read_csv(HEADED.encode()), BarLabel.START, SBIN, SESSIONS)
    assert [row[4:6] for row in cleaned.candles.iter_rows()] == [(427.2, 1000), (428.9, 950)]
    assert (cleaned.read, cleaned.invalid, cleaned.duplicates, cleaned.outside_session) == (7, 2, 1, 2)


def test_times_without_an_offset_are_indian() -> None:
    naive = HEADED.replace("+05:30", "")
    with_offset = clean(candle_files.read_csv(HEADED.encode()), BarLabel.START, SBIN, SESSIONS).candles
    assert clean(candle_files.read_csv(naive.encode()), BarLabel.START, SBIN, SESSIONS).candles.equals(with_offset)


def test_a_parquet_file_says_the_same_as_its_csv() -> None:
    frame = candle_files.read_csv(HEADED.encode())
    buffer = io.BytesIO()
    frame.with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC")).write_parquet(buffer)
    found = clean(candle_files.read_parquet(buffer.getvalue()), BarLabel.START, SBIN, SESSIONS)
    assert found.candles.equals(clean(frame, BarLabel.START, SBIN, SESSIONS).candles)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (b"open,high,low,close\n1,1,1,1", "a time"),
        (b"start,open,high\n", "low, close"),
        (b"a,b\n1,2", "2 columns"),
        (b"", "CSV"),
    ],
)
def test_a_file_of_another_shape_is_refused_and_told_what_is_missing(content: bytes, missing: str) -> None:
    with pytest.raises(CandleFileUnreadable, match=missing):
        clean(candle_files.read_csv(content), BarLabel.START, SBIN, SESSIONS)


def test_a_file_that_is_no_parquet_is_refused() -> None:
    with pytest.raises(CandleFileUnreadable, match="Parquet"):
        candle_files.read_parquet(b"PAR1 not really")
