"""Ticks and candles on a real QuestDB, under instrument names of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from libs.common import ids
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed
from libs.common.trading_calendar import IST
from services.marketdata.store.series import Candle, Interval, TimeSeries, TimeSeriesUnavailable
from tests.services.marketdata.samples import OPEN, tick

MINUTE = timedelta(minutes=1)
FOREVER = timedelta(days=30)


@pytest.fixture
async def series() -> AsyncIterator[TimeSeries]:
    series = TimeSeries(os.environ["QUESTDB_URL"])
    await series.create_tables()
    yield series
    await series.close()


@pytest.fixture
def instrument() -> InstrumentId:
    return InstrumentId(f"NSE:T'{ids.new_id().hex[-12:].upper()}")


def candle(instrument: InstrumentId, start: datetime, price: float = 100.0, volume: int = 10) -> CandleClosed:
    return CandleClosed(
        instrument=instrument,
        start=start,
        interval_s=60,
        source=FeedSource.SIMULATED,
        open=price,
        high=price + 2,
        low=price - 1,
        close=price + 1,
        volume=volume,
        oi=5,
    )


async def history(
    series: TimeSeries, instrument: InstrumentId, interval: Interval, count: int, limit: int = 5_000
) -> list[Candle]:
    """QuestDB shows what was written once its log is applied."""
    found: list[Candle] = []
    for _ in range(100):
        found = await series.candles(instrument, interval, OPEN - FOREVER, OPEN + FOREVER, limit)
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    return found


async def write(series: TimeSeries, candles: list[CandleClosed]) -> None:
    await asyncio.to_thread(series.write, [], candles)


async def test_a_candle_comes_back_as_it_was_written(series: TimeSeries, instrument: InstrumentId) -> None:
    await write(series, [candle(instrument, OPEN)])
    (found,) = await history(series, instrument, Interval.ONE_MINUTE, 1)
    assert found == Candle(OPEN, "SIMULATED", 100.0, 102.0, 99.0, 101.0, 10, 5)


async def test_writing_a_candle_twice_keeps_it_once(series: TimeSeries, instrument: InstrumentId) -> None:
    await write(series, [candle(instrument, OPEN)])
    await write(series, [candle(instrument, OPEN), candle(instrument, OPEN + MINUTE)])
    assert len(await history(series, instrument, Interval.ONE_MINUTE, 2)) == 2


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        (Interval.FIVE_MINUTES, ["09:15", "09:20", "09:25"]),
        (Interval.FIFTEEN_MINUTES, ["09:15", "09:30", "09:45"]),
        (Interval.ONE_HOUR, ["09:15", "10:15", "11:15"]),
    ],
)
async def test_longer_candles_are_counted_from_the_session_s_start(
    series: TimeSeries, instrument: InstrumentId, interval: Interval, starts: list[str]
) -> None:
    await write(series, [candle(instrument, OPEN + n * MINUTE, 100 + n) for n in range(375)])
    await history(series, instrument, Interval.ONE_MINUTE, 375)
    found = await history(series, instrument, interval, 3)
    assert [each.start.astimezone(IST).strftime("%H:%M") for each in found[:3]] == starts
    minutes = round((found[1].start - found[0].start) / MINUTE)
    first = found[0]
    assert (first.open, first.close) == (100, 100 + minutes)
    assert (first.high, first.low, first.volume) == (100 + minutes + 1, 99, 10 * minutes)


async def test_a_day_is_the_indian_date(series: TimeSeries, instrument: InstrumentId) -> None:
    midnight = datetime(2026, 11, 24, tzinfo=IST)
    await write(series, [candle(instrument, midnight - MINUTE, 50), candle(instrument, midnight, 60)])
    await history(series, instrument, Interval.ONE_MINUTE, 2)
    found = await history(series, instrument, Interval.ONE_DAY, 2)
    assert [(each.start.astimezone(IST).date().day, each.open) for each in found] == [(23, 50), (24, 60)]
    assert found[1].start == midnight


async def test_the_newest_candles_are_served_oldest_first(series: TimeSeries, instrument: InstrumentId) -> None:
    await write(series, [candle(instrument, OPEN + n * MINUTE, 100 + n) for n in range(10)])
    await history(series, instrument, Interval.ONE_MINUTE, 10)
    found = await history(series, instrument, Interval.ONE_MINUTE, 3, limit=3)
    assert [each.open for each in found] == [107, 108, 109]


async def test_ticks_are_kept_once_by_their_exchange_time(series: TimeSeries, instrument: InstrumentId) -> None:
    ticks = [tick(n / 10, 100 + n, n, instrument) for n in range(20)]
    await asyncio.to_thread(series.write, ticks, [])
    await asyncio.to_thread(series.write, ticks, [candle(instrument, OPEN)])
    await history(series, instrument, Interval.ONE_MINUTE, 1)
    name = instrument.replace("'", "''")
    question = f"SELECT count(), last(ltp) FROM ticks WHERE instrument = '{name}'"  # noqa: S608 - our own name
    found: list[list[object]] = []
    for _ in range(100):
        found = await series._query(question)
        if found == [[20, 119]]:
            break
        await asyncio.sleep(0.1)
    assert found == [[20, 119]]


async def test_a_questdb_that_is_away_is_an_error_that_says_so() -> None:
    away = TimeSeries("http://127.0.0.1:9")
    with pytest.raises(TimeSeriesUnavailable, match="does not answer"):
        await away.create_tables()
    await away.close()
