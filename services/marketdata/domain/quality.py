"""What is wrong with one day's one-minute candles: minutes that are missing, repeated, impossible or far off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import log
from statistics import median
from typing import NamedTuple

MINUTE = timedelta(minutes=1)
LEAST_SPIKE = 0.005
"""Half a per cent: nobody looks at less."""
SPIKE_OF_USUAL = 10.0
"""In median absolute one-minute returns of the day."""

Spans = Sequence[tuple[datetime, datetime]]


class Minute(NamedTuple):
    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Minutes without a candle, from `start` until just before `end`."""

    start: datetime
    end: datetime
    minutes: int


@dataclass(frozen=True, slots=True)
class Spike:
    """A price that left its neighbours by `departure` (0.01 = 1 %) and came back."""

    start: datetime
    price: float
    departure: float


@dataclass(frozen=True, slots=True)
class Quality:
    candles: int
    expected: int
    """Minutes of the session, up to the present one."""
    gaps: Sequence[Gap]
    outside_session: Sequence[datetime]
    duplicates: Sequence[datetime]
    """Candles that copy the one before in every price and the volume, although the price moved within them."""
    invalid: Sequence[datetime]
    spikes: Sequence[Spike]


def judge(
    candles: Sequence[Minute], opens: datetime, closes: datetime, ends: datetime | None = None, breaks: Spans = ()
) -> Quality:
    """`candles` of one day in order of time; the session is [opens, closes) without its `breaks`. From then on until
    `ends` there may be some of a closing auction, and none is missed.
    """
    spans = list(_spans(opens, closes, breaks))
    trading = [*spans, (closes, ends)] if ends else spans
    inside = [candle for candle in candles if _within(candle, trading)]
    valid = [candle for candle in inside if _valid(candle)]
    return Quality(
        candles=len(candles),
        expected=sum((end - start) // MINUTE for start, end in spans),
        gaps=[gap for span in spans for gap in _gaps([each.start for each in inside if _within(each, [span])], *span)],
        outside_session=[candle.start for candle in candles if not _within(candle, trading)],
        duplicates=[now.start for before, now in pairwise(inside) if now.low < now.high and now[1:] == before[1:]],
        invalid=[candle.start for candle in inside if not _valid(candle)],
        spikes=list(_spikes(valid)),
    )


def _spans(opens: datetime, closes: datetime, breaks: Spans) -> Iterator[tuple[datetime, datetime]]:
    for start, end in breaks:
        yield opens, min(start, closes)
        opens = min(end, closes)
    yield opens, closes


def _within(candle: Minute, spans: Spans) -> bool:
    return any(start <= candle.start < end for start, end in spans)


def _valid(candle: Minute) -> bool:
    return 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high


def _gaps(starts: Sequence[datetime], opens: datetime, closes: datetime) -> Iterator[Gap]:
    for before, after in pairwise([opens - MINUTE, *starts, closes]):
        missing = (after - before) // MINUTE - 1
        if missing > 0:
            yield Gap(before + MINUTE, after, missing)


def _spikes(candles: Sequence[Minute]) -> Iterator[Spike]:
    """A high or a low, or a whole candle, that neither the close before nor the price after it bears out."""
    if len(candles) < 3:
        return
    usual = median(abs(log(now.close / before.close)) for before, now in pairwise(candles))
    threshold = max(LEAST_SPIKE, SPIKE_OF_USUAL * usual)
    for before, now, after in zip(candles, candles[1:], candles[2:], strict=False):
        for price in (now.high, now.low):
            departures = [log(price / before.close), log(price / after.open)]
            nearest = min(departures, key=abs)
            if departures[0] * departures[1] > 0 and abs(nearest) > threshold:
                yield Spike(now.start, price, abs(nearest))
