"""Recorded ticks and candles, cleaned into one form: seconds, prices and volume increments.

Files are dirty as recorded. Rows of another date than most of the file's, outside 09:15-15:30, without a positive
price, and exact duplicates are dropped; the rest is put in order of time, and a volume that goes backwards counts as
unchanged.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from libs.common.contracts.ids import InstrumentId
from libs.common.trading_calendar import IST
from services.marketdata.domain.pricing import Floats
from services.marketdata.domain.rules import INDEX_RULES
from services.marketdata.settings import BarLabel
from services.marketdata.settings import Recording as Kind

OPENS, CLOSES = time(9, 15), time(15, 30)
LONGEST_GAP = {Kind.TICKS: 5.0, Kind.CANDLES: 20.0}
"""A longer silence in a recording is shortened to this at most, so that a loop never goes quiet; to what is left of it
without its whole minutes if that is less: then a minute's ticks stay together, and make the candle that was recorded.
"""
MINUTE_SECONDS = 60.0
BAR_SECONDS = (0.0, 20.0, 40.0, 59.0)
"""When within its minute a candle's open, high, low and close are ticked, in this order."""


@dataclass(frozen=True, slots=True)
class Row:
    at: datetime
    price: float
    volume: int
    """The day's total so far."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One instrument's cleaned ticks; `times` are seconds of the epoch, strictly rising."""

    instrument: InstrumentId
    files: tuple[str, ...]
    times: Floats
    prices: Floats
    volumes: NDArray[np.int64]
    dropped: int

    @property
    def first_day(self) -> str:
        return datetime.fromtimestamp(float(self.times[0]), IST).date().isoformat()


def load_ticks(folder: Path) -> list[Recording]:
    """The recordings of `ticks/NAME-YYYY-MM-DD[-part].csv`: the parts of a day together, each name's newest day."""
    days: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.glob("ticks/*.csv")):
        name, day = path.stem[: path.stem.index("-20")], path.stem[path.stem.index("-20") + 1 :][:10]
        days.setdefault(name, {}).setdefault(day, []).append(path)
    found = []
    for name, by_day in days.items():
        paths = by_day[max(by_day)]
        rows = [row for path in paths for row in read_ticks(path)]
        found.append(clean(spot_of(name), tuple(path.name for path in paths), rows))
    return found


def load_candles(folder: Path, label: BarLabel) -> list[Recording]:
    """The newest month of `candles-1min/NAME-….csv` of each name."""
    months: dict[str, list[tuple[datetime, Path]]] = {}
    for path in sorted(folder.glob("candles-1min/*.csv")):
        first = next(read_candles(path, label))
        months.setdefault(path.stem.split("-")[0], []).append((first.at, path))
    found = []
    for name, paths in months.items():
        path = max(paths)[1]
        found.append(clean(spot_of(name), (path.name,), list(read_candles(path, label)), one_day=False))
    return found


def spot_of(name: str) -> InstrumentId:
    return INDEX_RULES[name].spot if name in INDEX_RULES else InstrumentId(f"NSE:{name}")


def read_ticks(path: Path) -> Iterator[Row]:
    """`timestamp (IST), ltp, cumulative volume`; a line that cannot be read is left out."""
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            try:
                at = datetime.fromisoformat(line["timestamp"]).replace(tzinfo=IST)
                yield Row(at, float(line["ltp"]), int(float(line["volume"])))
            except ValueError:
                continue


def read_candles(path: Path, label: BarLabel) -> Iterator[Row]:
    """`symbol,yyyymmdd,HH:MM,open,high,low,close,…` without a header, as four ticks a minute."""
    shift = timedelta(minutes=1) if label is BarLabel.END else timedelta()
    with path.open(newline="") as file:
        for _, day, minute, *prices in csv.reader(file):
            start = datetime.strptime(f"{day} {minute}", "%Y%m%d %H:%M").replace(tzinfo=IST) - shift
            for seconds, price in zip(BAR_SECONDS, prices[:4], strict=True):
                yield Row(start + timedelta(seconds=seconds), float(price), 0)


def clean(instrument: InstrumentId, files: tuple[str, ...], rows: Sequence[Row], *, one_day: bool = True) -> Recording:
    """See the module's text. ValueError when nothing is left."""
    kept = {row for row in rows if row.price > 0 and OPENS <= row.at.timetz().replace(tzinfo=None) < CLOSES}
    if one_day and kept:
        day = Counter(row.at.date() for row in kept).most_common(1)[0][0]
        kept = {row for row in kept if row.at.date() == day}
    if not kept:
        raise ValueError(f"no usable row for {instrument} in {', '.join(files)}")
    ordered = sorted(kept, key=lambda row: (row.at, row.volume, row.price))
    volumes = np.maximum.accumulate(np.array([row.volume for row in ordered], dtype=np.int64))
    return Recording(
        instrument,
        files,
        np.array(list(_spread(row.at.timestamp() for row in ordered))),
        np.array([row.price for row in ordered]),
        volumes,
        len(rows) - len(kept),
    )


def _spread(times: Iterable[float]) -> Iterator[float]:
    """Clocks of recordings tick in seconds: rows of the same second are spread over it, in order."""
    for second, same in groupby(times):
        count = len(list(same))
        yield from (second + n / count for n in range(count))


def play_times(recordings: Sequence[Recording], longest_gap: float) -> list[Floats]:
    """Seconds from the start of the loop for each recording's ticks; recordings of one day keep their simultaneity."""
    every = np.unique(np.concatenate([recording.times for recording in recordings]))
    gaps = np.diff(every, prepend=every[0])
    rest = gaps % MINUTE_SECONDS
    shortened = np.where((rest > 0) & (rest <= longest_gap), rest, longest_gap)
    positions = np.cumsum(np.where(gaps > longest_gap, shortened, gaps))
    return [positions[np.searchsorted(every, recording.times)] for recording in recordings]
