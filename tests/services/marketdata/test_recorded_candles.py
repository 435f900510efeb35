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
from services.marketdata.adapters.candle_files import CandleFileUnreadable, Form, Survey
from services.marketdata.adapters.replay.recordings import read_candles
from services.marketdata.domain.candles import candles_of
from services.marketdata.settings import BarLabel
from tests.services.marketdata.samples import SBIN

NIFTY = InstrumentId("NSE_INDEX:NIFTY")
SESSIONS = TradingCalendar(MarketHours.EXCHANGE)
MINUTE = timedelta(minutes=1)
Row = tuple[datetime, float, float, float, float]


def cleaned(
    content: bytes,
    label: BarLabel,
    instrument: InstrumentId = SBIN,
    sessions: TradingCalendar | None = SESSIONS,
    form: Form = Form.CSV,
) -> tuple[Survey, pl.DataFrame]:
    """What an import of the file finds, and what it writes."""
    file = io.BytesIO(content)
    found = candle_files.survey(file, form, label, instrument, sessions)
    return found, pl.concat(candle_files.candles(file, form, label, instrument, sessions))


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
    found, candles = cleaned(path.read_bytes(), BarLabel.END, NIFTY)
    rows = [tuple(row[:5]) for row in candles.iter_rows()]
    assert rows == list(recorded(path))
    assert found.kept == len(rows)
    assert found.read == len(rows) + found.outside_session
    assert found.outside_session > 0


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
    content = (shared_data / "candles-1min/NIFTY-2021-JUN.csv").read_bytes()
    ends = cleaned(content, BarLabel.END, NIFTY, None)[1]["start"]
    starts = cleaned(content, BarLabel.START, NIFTY, None)[1]["start"]
    assert (starts - ends).unique().to_list() == [MINUTE]


HEADED = """timestamp,Open,High,Low,Close,Volume
2021-06-09T09:15:00+05:30,427.5,428,427,427.2,1000
2021-06-09T09:16:00+05:30,427.2,429,427,428.8,900
2021-06-09T09:16:00+05:30,427.2,429,427,428.9,950
2021-06-09T16:18:00+05:30,428,429,427,428.8,900
2021-06-13T10:00:00+05:30,428,429,427,428.8,900
"""


def test_a_file_with_a_header_is_cleaned_and_what_is_left_out_is_counted() -> None:
    """The last of two candles of one minute counts; the 13th of June 2021 was a Sunday."""
    found, candles = cleaned(HEADED.encode(), BarLabel.START)
    assert [row[4:6] for row in candles.iter_rows()] == [(427.2, 1000), (428.9, 950)]
    assert (found.read, found.kept, found.duplicates, found.outside_session) == (5, 2, 1, 2)
    assert (found.first, found.last) == (candles["start"][0], candles["start"][1])


def test_times_without_an_offset_are_indian() -> None:
    naive = HEADED.replace("+05:30", "")
    assert cleaned(naive.encode(), BarLabel.START)[1].equals(cleaned(HEADED.encode(), BarLabel.START)[1])


def test_a_parquet_file_says_the_same_as_its_csv() -> None:
    buffer = io.BytesIO()
    pl.read_csv(HEADED.encode()).with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC")).write_parquet(
        buffer
    )
    found, candles = cleaned(buffer.getvalue(), BarLabel.START, form=Form.PARQUET)
    expected, rows = cleaned(HEADED.encode(), BarLabel.START)
    assert found == expected
    assert candles.equals(rows)


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
        cleaned(content, BarLabel.START)


def test_a_file_that_is_no_parquet_is_refused() -> None:
    with pytest.raises(CandleFileUnreadable, match="Parquet"):
        cleaned(b"PAR1 not really", BarLabel.START, form=Form.PARQUET)


FINE = "2021-06-09T09:20:00+05:30,428,429,427,428.8,900"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2021-06-09T09:17:00+05:30,428.8,420,427,428.8,900", "not between low 427 and high 420"),
        ("2021-06-09T09:18:00+05:30,0,429,427,428.8,900", "open '0' is no price"),
        ("2021-06-09T09:18:00+05:30,428,429,,428.8,900", r"low \(nothing\) is no price"),
        ("2021-06-09T09:18:00+05:30,428,429,427,nan,900", "close 'nan' is no price"),
        ("2021-06-09T09:18:00+05:30,428,429,427,428,many", "volume 'many' is no quantity"),
        ("2021-06-09T09:18:00+05:30,428,429,427,428,-1", "volume '-1' is no quantity"),
        ("2021-06-09T09:18:00+05:30,428,429", r"low \(nothing\) is no price"),
        ("2021-06-09T09:18:00+05:30,428,429,427,428,900,1", "7 columns, expected 6"),
        ('2021-06-09T09:18:00+05:30,"428,429,427,428,900', "a quote that is not closed"),
        ("2021-06-09T09:18:00+05:30,428,429,427,428,\xe9", "not UTF-8"),
        ("tomorrow,428,429,427,428,900", "'tomorrow' is no date and time"),
        ("<html>", "is no date and time"),
    ],
)
@pytest.mark.parametrize("before", [0, 3, 90_000])
def test_a_broken_row_names_its_line(row: str, fault: str, before: int) -> None:
    """Whichever piece of the file it is in, and with a blank line before it."""
    lines = ["timestamp,open,high,low,close,volume", "", *[FINE] * before, row, FINE]
    with pytest.raises(CandleFileUnreadable, match=rf"line {before + 3}: .*{fault}"):
        cleaned("\n".join(lines).encode("latin-1"), BarLabel.START)


def test_a_broken_row_of_a_parquet_file_names_its_row() -> None:
    start = datetime(2021, 6, 9, 9, 15, tzinfo=IST)
    prices = [100.0] * 60_000
    rows = pl.DataFrame({"start": [start] * 60_000, "open": prices, "high": prices, "low": prices, "close": prices})
    broken = rows.with_columns(pl.when(pl.int_range(pl.len()) == 54_320).then(-1.0).otherwise("low").alias("low"))
    for frame, fault in ((broken, "row 54321: low -1.0 is no price"), (rows.drop("high"), "missing: high")):
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        with pytest.raises(CandleFileUnreadable, match=fault):
            cleaned(buffer.getvalue(), BarLabel.START, form=Form.PARQUET)


def test_a_small_parquet_file_that_claims_millions_of_rows_is_refused_before_it_is_read() -> None:
    buffer = io.BytesIO()
    count = candle_files.MOST_ROWS + 1
    flat = {name: pl.repeat(1.0, count, eager=True) for name in ("open", "high", "low", "close")}
    pl.DataFrame({"start": pl.repeat(datetime(2021, 6, 9, tzinfo=IST), count, eager=True), **flat}).write_parquet(
        buffer
    )
    assert len(buffer.getvalue()) < 1_000_000
    with pytest.raises(candle_files.CandleFileTooLong, match="at most 5000000"):
        cleaned(buffer.getvalue(), BarLabel.START, form=Form.PARQUET)


def test_of_two_rows_of_one_minute_the_later_is_written_last_wherever_they_are() -> None:
    """QuestDB keeps what came last. The file is longer than a piece."""
    lines = ["start,open,high,low,close,volume", *[FINE] * 90_000, FINE.replace("428.8", "428.5")]
    found, candles = cleaned("\n".join(lines).encode(), BarLabel.START)
    assert (found.read, found.kept, found.duplicates) == (90_001, 1, 90_000)
    assert candles["close"][-1] == 428.5


@pytest.mark.parametrize(("day", "kept"), [("2026-11-23", 20), ("2026-06-30", 15)])
def test_the_minutes_of_the_closing_auction_are_of_the_session(day: str, kept: int) -> None:
    """Its last price is what a stock's derivatives are settled at; there is one since August 2026."""
    minutes = [f"{day} 15:{minute},100,101,99,100" for minute in range(15, 36)]
    minutes.append(f"{day} 15:36,100,101,99,100")
    found, candles = cleaned("\n".join(["time,open,high,low,close", *minutes]).encode(), BarLabel.START)
    assert (found.kept, candles.height) == (kept, kept)
