"""One-minute candles from CSV and Parquet files of any vendor, in one form.

Two shapes are known. With a header: a time (`start`, `timestamp`, `datetime`, `time` or `date`), `open`, `high`, `low`,
`close`, and `volume` and `oi` where there are any. Without: `symbol,yyyymmdd,HH:MM,open,high,low,close[,volume[,oi]]`.
Times without an offset are Indian. Vendors label a bar with the start or the end of its minute: the label is always
said, never guessed.
"""

import io
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

import polars as pl

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import TradingCalendar
from services.marketdata.domain.symbols import split
from services.marketdata.settings import BarLabel

TIME_NAMES = ("start", "timestamp", "datetime", "time", "date")
PRICES: Final = ("open", "high", "low", "close")
_BARE = ("symbol", "day", "minute", *PRICES, "volume", "oi")
_MINUTE = timedelta(minutes=1)


class CandleFileUnreadable(ValueError):
    """The file is not in a shape that is known; says what was found."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`candles` has start (UTC), open, high, low, close, volume and oi, in order; the rest counts what was left out."""

    candles: pl.DataFrame
    read: int
    invalid: int
    """No price, or a high below a low."""
    duplicates: int
    outside_session: int


def read_csv(content: bytes) -> pl.DataFrame:
    first = content[:200].partition(b"\n")[0].decode(errors="replace").lower()
    try:
        if "open" in first:
            return pl.read_csv(io.BytesIO(content))
        return _bare(pl.read_csv(io.BytesIO(content), has_header=False, infer_schema=False))
    except pl.exceptions.PolarsError as error:
        raise CandleFileUnreadable(f"not a CSV of candles: {error}") from error


def read_parquet(content: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise CandleFileUnreadable(f"not a Parquet file of candles: {error}") from error


def _bare(frame: pl.DataFrame) -> pl.DataFrame:
    if not 7 <= frame.width <= len(_BARE):
        raise CandleFileUnreadable(f"{frame.width} columns without a header; known are {', '.join(_BARE)}")
    named = frame.rename(dict(zip(frame.columns, _BARE, strict=False)))
    return named.with_columns(
        (pl.col("day") + " " + pl.col("minute")).str.to_datetime("%Y%m%d %H:%M", strict=False).alias("start")
    )


def clean(frame: pl.DataFrame, label: BarLabel, instrument: InstrumentId, sessions: TradingCalendar | None) -> Cleaned:
    """Whole one-minute candles in order of time, the last of each minute; inside the `sessions` if given."""
    shaped = _shaped(frame, label)
    good = shaped.filter(
        pl.all_horizontal(pl.col(name).is_finite() & (pl.col(name) > 0) for name in PRICES)
        & pl.col("start").is_not_null()
        & (pl.col("high") >= pl.max_horizontal("open", "close", "low"))
        & (pl.col("low") <= pl.min_horizontal("open", "close"))
    )
    single = good.unique("start", keep="last", maintain_order=True).sort("start")
    inside = single if sessions is None else single.filter(_in_session(single, instrument, sessions))
    return Cleaned(
        inside, frame.height, frame.height - good.height, good.height - single.height, single.height - inside.height
    )


def _shaped(frame: pl.DataFrame, label: BarLabel) -> pl.DataFrame:
    named = frame.rename({name: name.strip().lower() for name in frame.columns})
    time = next((name for name in TIME_NAMES if name in named.columns), None)
    missing = [name for name in PRICES if name not in named.columns]
    if time is None or missing:
        wanted = ", ".join(missing) or f"a time ({', '.join(TIME_NAMES)})"
        raise CandleFileUnreadable(f"columns are {', '.join(frame.columns)}; missing: {wanted}")
    start = _utc(named[time]) - (_MINUTE if label is BarLabel.END else timedelta())
    counts = [
        pl.col(name).cast(pl.Float64, strict=False).fill_null(0).cast(pl.Int64).alias(name)
        if name in named.columns
        else pl.lit(0, pl.Int64).alias(name)
        for name in ("volume", "oi")
    ]
    prices = [pl.col(name).cast(pl.Float64, strict=False) for name in PRICES]
    return named.with_columns(start.dt.truncate("1m").alias("start")).select("start", *prices, *counts)


def _utc(times: pl.Series) -> pl.Series:
    """What has no offset is Indian time."""
    if times.dtype == pl.String:
        with_offset = times.str.contains(r"(Z|[+-]\d\d:?\d\d)$").any()
        times = times.str.to_datetime(time_unit="us", time_zone="UTC" if with_offset else None, strict=False)
    if not isinstance(times.dtype, pl.Datetime):
        raise CandleFileUnreadable(f"the time column is {times.dtype}, not a date and time")
    if times.dtype.time_zone is None:
        times = times.dt.replace_time_zone("Asia/Kolkata")
    return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _in_session(frame: pl.DataFrame, instrument: InstrumentId, sessions: TradingCalendar) -> pl.Series:
    exchange = split(instrument)[0]
    days = frame["start"].dt.convert_time_zone("Asia/Kolkata").dt.date()
    bounds = []
    for day in days.unique():
        session = sessions.session(exchange, day)
        if session is not None:
            bounds.append({"day": day, "opens": session.open.astimezone(UTC), "closes": session.close.astimezone(UTC)})
    schema = {"day": pl.Date(), "opens": pl.Datetime("us", "UTC"), "closes": pl.Datetime("us", "UTC")}
    joined = frame.select("start", days.alias("day")).join(
        pl.DataFrame(bounds, schema=schema), on="day", how="left", maintain_order="left"
    )
    return joined.select(
        ((pl.col("start") >= pl.col("opens")) & (pl.col("start") < pl.col("closes"))).fill_null(value=False)
    ).to_series()
