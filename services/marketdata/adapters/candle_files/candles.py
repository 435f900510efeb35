"""Rows of any vendor as whole one-minute candles; a row that cannot be one is an error that names its place."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.adapters.candle_files.pieces import COUNTS, PRICES, CandleFileUnreadable, Form, Piece, pieces
from services.marketdata.domain.symbols import split
from services.marketdata.settings import BarLabel

_MINUTE = timedelta(minutes=1)
_MICROS = 60_000_000
_COLUMNS = ("start", *PRICES, *COUNTS)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds, all of whose rows are candles."""

    read: int
    kept: int
    """Minutes that are in it, inside the sessions if those were given."""
    duplicates: int
    """Rows whose minute a later row has too."""
    outside_session: int
    first: datetime | None
    last: datetime | None


def survey(
    file: BinaryIO, form: Form, label: BarLabel, instrument: InstrumentId, sessions: TradingCalendar | None
) -> Survey:
    """Reads all of it, so that nothing is kept of a file that is broken at its end. CandleFileUnreadable if it is."""
    minutes = [
        (shaped["start"].dt.epoch("us") // _MICROS).cast(pl.Int32).to_numpy()
        for shaped in (_shaped(piece, label) for piece in pieces(file, form))
    ]
    rows = np.concatenate(minutes) if minutes else np.empty(0, np.int32)
    single = pl.DataFrame({"start": _times(np.unique(rows))})
    inside = _inside(single, instrument, sessions)["start"]
    first, last = (inside[0], inside[-1]) if len(inside) else (None, None)
    return Survey(len(rows), len(inside), len(rows) - len(single), len(single) - len(inside), first, last)


def candles(
    file: BinaryIO, form: Form, label: BarLabel, instrument: InstrumentId, sessions: TradingCalendar | None
) -> Iterator[pl.DataFrame]:
    """start (UTC), open, high, low, close, volume and oi, by the piece. Of two rows of one minute the later counts:
    within a piece it alone is there, of two pieces the later replaces what the earlier brought.
    """
    for piece in pieces(file, form):
        yield _inside(_shaped(piece, label).unique("start", keep="last", maintain_order=True), instrument, sessions)


def _times(minutes: np.ndarray[tuple[int], np.dtype[np.int32]]) -> pl.Series:
    return pl.Series(minutes.astype(np.int64) * _MICROS).cast(pl.Datetime("us", "UTC"))


def _shaped(piece: Piece, label: BarLabel) -> pl.DataFrame:
    """The piece as _COLUMNS, without its blank lines."""
    rows = piece.rows
    start = _utc(rows["time"]) - (_MINUTE if label is BarLabel.END else timedelta())
    prices = [_number(rows, name) for name in PRICES]
    typed = rows.select(
        start.dt.truncate("1m").alias("start"),
        *prices,
        *[_count(rows, name) for name in COUNTS],
        blank=pl.all_horizontal(pl.all().is_null()),
    )
    good = (
        pl.all_horizontal(pl.col(name).is_finite() & (pl.col(name) > 0) for name in PRICES)
        & pl.col("start").is_not_null()
        & (pl.col("high") >= pl.max_horizontal("open", "close", "low"))
        & (pl.col("low") <= pl.min_horizontal("open", "close"))
        & pl.all_horizontal(pl.col(name) >= 0 for name in COUNTS)
    ).fill_null(value=False)
    broken = typed.select((~good & ~pl.col("blank")).arg_true()).to_series()
    if len(broken):
        row = int(broken[0])
        fault = _fault(rows.row(row, named=True), typed.row(row, named=True))
        raise CandleFileUnreadable(f"{piece.place(row)}: {fault}; nothing was imported")
    return typed.filter(~pl.col("blank")).select(_COLUMNS)


def _number(rows: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name).str.strip_chars() if rows.schema[name] == pl.String else pl.col(name)
    return column.cast(pl.Float64, strict=False)


def _count(rows: pl.DataFrame, name: str) -> pl.Expr:
    """Nothing is none; what is no number is null."""
    if name not in rows.columns:
        return pl.lit(0, pl.Int64).alias(name)
    is_text = rows.schema[name] == pl.String
    nothing = pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "" if is_text else pl.lit(value=False))
    counted = _number(rows, name).cast(pl.Int64, strict=False)
    return pl.when(nothing).then(pl.lit(0, pl.Int64)).otherwise(counted).alias(name)


def _fault(row: Mapping[str, object], typed: Mapping[str, Any]) -> str:
    """What is wrong with a row, in its own words."""
    if typed["start"] is None:
        return f"{_shown(row['time'])} is no date and time"
    for name in PRICES:
        if typed[name] is None or not math.isfinite(typed[name]) or typed[name] <= 0:
            return f"{name} {_shown(row[name])} is no price"
    for name in COUNTS:
        if typed[name] is None or typed[name] < 0:
            return f"{name} {_shown(row[name])} is no quantity"
    high, low = typed["high"], typed["low"]
    return f"open {typed['open']:g} or close {typed['close']:g} is not between low {low:g} and high {high:g}"


def _shown(value: object) -> str:
    return "(nothing)" if value is None else repr(value)[:60]


def _utc(times: pl.Series) -> pl.Series:
    """What has no offset is Indian time; what is no time is null."""
    if times.dtype == pl.String:
        times = _parsed(times.str.strip_chars())
    if not isinstance(times.dtype, pl.Datetime):
        raise CandleFileUnreadable(f"the time column is {times.dtype}, not a date and time")
    if times.dtype.time_zone is None:
        times = times.dt.replace_time_zone("Asia/Kolkata")
    return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _parsed(times: pl.Series) -> pl.Series:
    zone = "UTC" if times.str.contains(r"(Z|[+-]\d\d:?\d\d)$").any() else None
    try:
        return times.str.to_datetime(time_unit="us", time_zone=zone, strict=False)
    except pl.exceptions.PolarsError:  # not one of them looks like a time
        return pl.Series(times.name, [None] * len(times), pl.Datetime("us"))


def _inside(rows: pl.DataFrame, instrument: InstrumentId, sessions: TradingCalendar | None) -> pl.DataFrame:
    if sessions is None:
        return rows
    exchange = split(instrument)[0]
    days = rows["start"].dt.convert_time_zone("Asia/Kolkata").dt.date()
    bounds = []
    for day in days.unique():
        session, closes = sessions.session(exchange, day), sessions.last_end(exchange, day)
        if session is not None and closes is not None:
            bounds.append({"day": day, "opens": session.open.astimezone(UTC), "closes": closes.astimezone(UTC)})
    schema = {"day": pl.Date(), "opens": pl.Datetime("us", "UTC"), "closes": pl.Datetime("us", "UTC")}
    dated = rows.with_columns(days.alias("day"))
    joined = dated.join(pl.DataFrame(bounds, schema=schema), on="day", how="inner", maintain_order="left")
    is_open = (pl.col("start") >= pl.col("opens")) & (pl.col("start") < pl.col("closes"))
    return joined.filter(is_open).select(rows.columns)
