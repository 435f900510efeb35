"""Candles made from recorded days of ticks, beside what others say of these days.

No day in the shared data is recorded both as ticks and as one-minute candles (ticks are of 2021-05-25 and 2021-06-09,
SBIN alone on the latter; candles are of NIFTY and BANKNIFTY in other months). So ticks' candles are compared with bars
worked out from the files by other means, and with the exchange's figures of the day; a day that comes to be recorded as
both is compared too.
"""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from libs.common import ids
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick
from libs.common.trading_calendar import IST
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.adapters.replay.recordings import clean, read_ticks, spot_of
from services.marketdata.domain.candles import candles_of
from services.marketdata.store.series import TimeSeries
from tests.services.marketdata.samples import OPEN
from tests.services.marketdata.test_history import write
from tests.services.marketdata.test_recorded_candles import Row, recorded

DAYS = {
    "SBIN-2021-06-09": ["SBIN-2021-06-09"],
    "NIFTY-2021-05-25": ["NIFTY-2021-05-25-a", "NIFTY-2021-05-25-b"],
    "BANKNIFTY-2021-05-25": ["BANKNIFTY-2021-05-25-a", "BANKNIFTY-2021-05-25-b"],
}
Bar = tuple[datetime, float, float, float, float, int]


def paths_of(shared_data: Path, day: str) -> list[Path]:
    return [shared_data / "ticks" / f"{name}.csv" for name in DAYS[day]]


def ticks_of(paths: Sequence[Path], instrument: InstrumentId) -> list[Tick]:
    """As the replay feed gives them: without the dirt, rows of one second spread over it."""
    made = clean(instrument, tuple(path.name for path in paths), [row for path in paths for row in read_ticks(path)])
    return [
        Tick(
            instrument=instrument,
            at=(at := datetime.fromtimestamp(float(time), UTC)),
            received_at=at,
            source=FeedSource.REPLAYED,
            ltp=float(price),
            volume=int(volume),
        )
        for time, price, volume in zip(made.times, made.prices, made.volumes, strict=True)
    ]


def bars_of(paths: Sequence[Path]) -> list[Bar]:
    """One-minute bars straight from the files, with nothing of ours."""
    day = paths[0].stem[paths[0].stem.index("-20") + 1 :][:10]
    rows = (
        pl.concat(pl.read_csv(path, infer_schema=False) for path in paths)
        .with_columns(
            pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).alias("at"),
            pl.col("ltp").cast(pl.Float64, strict=False),
            pl.col("volume").cast(pl.Float64, strict=False).cast(pl.Int64),
        )
        .drop_nulls()
        .filter(
            (pl.col("at").dt.date() == date.fromisoformat(day))
            & (pl.col("at").dt.time() >= pl.time(9, 15))
            & (pl.col("at").dt.time() < pl.time(15, 30))
            & (pl.col("ltp") > 0)
        )
        .unique(["at", "ltp", "volume"])
        .sort("at", "volume", "ltp")
    )
    bars = rows.group_by(pl.col("at").dt.truncate("1m").alias("minute"), maintain_order=True).agg(
        pl.col("ltp").first().alias("open"),
        pl.col("ltp").max().alias("high"),
        pl.col("ltp").min().alias("low"),
        pl.col("ltp").last().alias("close"),
        pl.col("volume").max().alias("total"),
    )
    total = pl.col("total").cum_max()
    bars = bars.with_columns((total - total.shift(1, fill_value=0)).alias("volume")).drop("total")
    return [(minute.replace(tzinfo=IST), *rest) for minute, *rest in bars.iter_rows()]


def as_bars(candles: Sequence[CandleClosed]) -> list[Bar]:
    return [(c.start.astimezone(IST), c.open, c.high, c.low, c.close, c.volume) for c in candles]


@pytest.mark.parametrize("day", DAYS)
def test_a_recorded_day_of_ticks_in_any_order_and_twice_makes_the_bars_that_its_file_holds(
    shared_data: Path, day: str
) -> None:
    ticks = ticks_of(paths_of(shared_data, day), InstrumentId("NSE:X"))
    disordered = ticks * 2
    random.Random(7).shuffle(disordered)
    bars = bars_of(paths_of(shared_data, day))
    assert len(bars) > 360
    assert as_bars(candles_of(disordered)) == bars


@pytest.mark.parametrize("day", DAYS)
async def test_a_recorded_day_that_was_stored_makes_the_same_bars_again(
    shared_data: Path, series: TimeSeries, day: str
) -> None:
    """QuestDB keeps one row for each instrument and moment: none of the day's ticks replaces another. The day is moved
    to one that QuestDB has not dropped yet.
    """
    instrument = InstrumentId(f"NSE:R{ids.new_id().hex[-10:].upper()}")
    ticks = ticks_of(paths_of(shared_data, day), instrument)
    later = timedelta(days=(OPEN.date() - ticks[0].at.date()).days)
    moved = [t.model_copy(update={"at": t.at + later, "received_at": t.at + later}) for t in ticks]
    await write(series, [], moved)
    made = await recomputed(series, instrument, OPEN.date(), OPEN + timedelta(days=1))
    assert as_bars(made) == [(bar[0] + later, *bar[1:]) for bar in bars_of(paths_of(shared_data, day))]


def test_the_day_s_candles_agree_with_the_exchanges_figures_of_it(shared_data: Path) -> None:
    """SBIN on 2021-06-09 by NSE's bhavcopy. What differs, and why: the recording begins at 09:16:03, so it has no
    opening trade; it is of snapshots, which missed the one trade at the low, a tick below theirs; and its session lacks
    the 9,321 shares that traded after 15:30, which the exchange counts.
    """
    bhavcopy = pl.read_csv(shared_data / "bhavcopy-nse/2021-06-09.csv", infer_schema=False).rename(str.strip)
    (row,) = bhavcopy.filter(
        (pl.col("SYMBOL").str.strip_chars() == "SBIN") & (pl.col("SERIES").str.strip_chars() == "EQ")
    ).to_dicts()
    high, low, last, traded = (float(row[name]) for name in ("HIGH_PRICE", "LOW_PRICE", "LAST_PRICE", "TTL_TRD_QNTY"))
    candles = candles_of(ticks_of(paths_of(shared_data, "SBIN-2021-06-09"), InstrumentId("NSE:SBIN")))
    assert candles[0].start.astimezone(IST).strftime("%H:%M") == "09:16"
    assert (max(c.high for c in candles), candles[-1].close) == (high, last)
    assert min(c.low for c in candles) == pytest.approx(low + 0.05)
    assert traded - sum(c.volume for c in candles) == 9_321


def days_recorded_as_both(folder: Path) -> dict[str, tuple[list[Bar], list[Row]]]:
    """The candles that a day's ticks make, and those that were recorded of it."""
    found = {}
    for day in sorted({path.stem[: path.stem.index("-20") + 11] for path in folder.glob("ticks/*.csv")}):
        name, on = day[:-11], date.fromisoformat(day[-10:])
        candles = folder.glob(f"candles-1min/{name}-*.csv")
        told = [row for path in candles for row in recorded(path) if row[0].date() == on]
        if told:
            ticks = ticks_of(sorted(folder.glob(f"ticks/{day}*.csv")), spot_of(name))
            found[day] = as_bars(candles_of(ticks)), told
    return found


def test_candles_equal_the_recorded_ones_of_every_day_that_is_recorded_as_both(shared_data: Path) -> None:
    for day, (made, told) in days_recorded_as_both(shared_data).items():
        assert [bar[:5] for bar in made] == told, day


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_a_day_that_is_recorded_as_both_is_found_and_a_wrong_candle_in_it_too(
    shared_data: Path, tmp_path: Path, error: float
) -> None:
    (path,) = paths_of(shared_data, "SBIN-2021-06-09")
    for folder in ("ticks", "candles-1min"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ticks" / path.name).write_bytes(path.read_bytes())
    lines = [
        f"SBIN,20210609,{minute + timedelta(minutes=1):%H:%M},{opened},{high + error},{low},{close},0,0\n"
        for minute, opened, high, low, close, _ in bars_of([path])
    ]
    (tmp_path / "candles-1min/SBIN-2021-JUN.csv").write_text("".join(lines))
    ((made, told),) = days_recorded_as_both(tmp_path).values()
    assert len(told) == 374
    assert ([bar[:5] for bar in made] == told) == (not error)
