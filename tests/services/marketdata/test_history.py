"""Ticks and candles on a real QuestDB, under instrument names of their own."""

import asyncio
import dataclasses
import io
from datetime import datetime, timedelta

import polars as pl
import pytest

from libs.common import ids
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, DepthLevel, Tick
from libs.common.trading_calendar import IST
from services.marketdata.domain.candles import micros
from services.marketdata.domain.corporate_actions import Adjustment
from services.marketdata.domain.intervals import Interval
from services.marketdata.store.series import (
    Candle,
    Format,
    Selection,
    TickRow,
    TimeSeries,
    TimeSeriesUnavailable,
    candle_row,
)
from tests.services.marketdata.samples import OPEN, tick

MINUTE = timedelta(minutes=1)
FOREVER = timedelta(days=30)


@pytest.fixture
def instrument() -> InstrumentId:
    return InstrumentId(f"NSE:T&{ids.new_id().hex[-12:].upper()}")


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


def wanted(instrument: InstrumentId, interval: Interval) -> Selection:
    return Selection(instrument, interval, OPEN - FOREVER, OPEN + FOREVER)


async def history(
    series: TimeSeries, instrument: InstrumentId, interval: Interval, count: int, limit: int = 5_000
) -> list[Candle]:
    """QuestDB shows what was written once its log is applied, and in its views a moment later."""
    found: list[Candle] = []
    for _ in range(300):
        found = await series.candles(wanted(instrument, interval), limit)
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    return found


async def write(series: TimeSeries, candles: list[CandleClosed], ticks: list[Tick] | None = None) -> None:
    await series.write(ticks=map(tick_row, ticks or []), candles=map(candle_row, candles))


def tick_row(tick: Tick) -> TickRow:
    return TickRow(
        tick.instrument,
        tick.source.value,
        micros(tick.at),
        micros(tick.received_at),
        tick.ltp,
        tick.ltq,
        tick.volume,
        tick.oi,
        tick.bid,
        tick.ask,
        tick.bid_quantity,
        tick.ask_quantity,
        [(level.price, level.quantity, level.orders) for level in tick.bids],
        [(level.price, level.quantity, level.orders) for level in tick.asks],
    )


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
        (Interval.THREE_MINUTES, ["09:15", "09:18", "09:21"]),
        (Interval.FIVE_MINUTES, ["09:15", "09:20", "09:25"]),
        (Interval.TEN_MINUTES, ["09:15", "09:25", "09:35"]),
        (Interval.FIFTEEN_MINUTES, ["09:15", "09:30", "09:45"]),
        (Interval.THIRTY_MINUTES, ["09:15", "09:45", "10:15"]),
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


async def test_commodities_count_their_hours_from_nine(series: TimeSeries, instrument: InstrumentId) -> None:
    gold = InstrumentId(instrument.replace("NSE:", "MCX:"))
    nine = OPEN - 15 * MINUTE
    await write(series, [candle(gold, nine + n * MINUTE, 100 + n) for n in range(90)])
    await history(series, gold, Interval.ONE_MINUTE, 90)
    found = await history(series, gold, Interval.ONE_HOUR, 2)
    assert [each.start.astimezone(IST).strftime("%H:%M") for each in found] == ["09:00", "10:00"]
    assert [each.volume for each in found] == [600, 300]


@pytest.mark.parametrize("exchange", ["NSE", "MCX"])
async def test_a_candle_is_whole_wherever_within_it_the_question_begins_or_ends(
    exchange: str, series: TimeSeries, instrument: InstrumentId
) -> None:
    """Candles that start in [from, to): not parts of them."""
    name = InstrumentId(instrument.replace("NSE:", f"{exchange}:"))
    opens = OPEN if exchange == "NSE" else OPEN - 15 * MINUTE
    await write(series, [candle(name, opens + n * MINUTE, 100 + n) for n in range(180)])
    await history(series, name, Interval.ONE_MINUTE, 180)
    asked = Selection(name, Interval.ONE_HOUR, opens + 20 * MINUTE, opens + 80 * MINUTE)
    found: list[Candle] = []
    for _ in range(300):
        found = await series.candles(asked, 10)
        if found and found[0].volume == 600:
            break
        await asyncio.sleep(0.1)
    assert [(each.start, each.open, each.volume) for each in found] == [(opens + 60 * MINUTE, 160, 600)]


async def test_a_corrected_minute_corrects_every_longer_candle(series: TimeSeries, instrument: InstrumentId) -> None:
    await write(series, [candle(instrument, OPEN + n * MINUTE, 100) for n in range(30)])
    await history(series, instrument, Interval.ONE_DAY, 1)
    await write(series, [candle(instrument, OPEN + MINUTE, 500)])
    for interval in (Interval.FIVE_MINUTES, Interval.ONE_DAY):
        found = await history(series, instrument, interval, 1)
        for _ in range(300):
            if found[0].high == 502:
                break
            await asyncio.sleep(0.1)
            found = await history(series, instrument, interval, 1)
        assert found[0].high == 502


async def test_ticks_are_kept_once_by_their_exchange_time_with_their_depth(
    series: TimeSeries, instrument: InstrumentId
) -> None:
    five = tuple(DepthLevel(price=100 - n / 20, quantity=10 * n, orders=n) for n in range(1, 6))
    ticks = [tick(n / 10, 100 + n, n, instrument).model_copy(update={"bids": five}) for n in range(20)]
    await write(series, [], ticks)
    await write(series, [], ticks)
    found = await history_of_ticks(series, instrument, 20)
    assert [row["ltp"] for row in found] == [100 + n for n in range(20)]
    depth = "bids[1, 5], bids[2, 5], bids[3, 5], asks[1, 1]"
    question = f"SELECT {depth} FROM ticks WHERE instrument = '{instrument}'"  # noqa: S608 - our own name
    assert (await series.ask(question))[0] == [99.75, 50.0, 5.0, None]


async def history_of_ticks(series: TimeSeries, instrument: InstrumentId, count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for _ in range(300):
        found = await series.rows(wanted(instrument, Interval.TICK), 5_000)
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    return found


async def test_prices_from_before_a_split_are_shown_as_if_it_had_happened_and_volumes_too(
    series: TimeSeries, instrument: InstrumentId
) -> None:
    """Split 1:5 on the 24th: what was 100 before is 20, and 10 shares are 50. What is stored stays."""
    await write(series, [candle(instrument, OPEN), candle(instrument, OPEN + timedelta(days=1))])
    await history(series, instrument, Interval.ONE_MINUTE, 2)
    split = [Adjustment((OPEN + timedelta(days=1)).astimezone(IST).date(), 0.2, 5.0)]
    before, after = await series.candles(
        dataclasses.replace(wanted(instrument, Interval.ONE_MINUTE), adjustments=split), 10
    )
    assert (before.open, before.close, before.volume) == (20.0, 20.2, 50)
    assert (after.open, after.close, after.volume) == (100.0, 101.0, 10)
    (stored, _) = await series.candles(wanted(instrument, Interval.ONE_MINUTE), 10)
    assert (stored.open, stored.volume) == (100.0, 10)


async def test_everything_is_exported_as_csv_and_parquet(series: TimeSeries, instrument: InstrumentId) -> None:
    await write(series, [candle(instrument, OPEN + n * MINUTE, 100 + n) for n in range(50)])
    await history(series, instrument, Interval.ONE_MINUTE, 50)
    asked = wanted(instrument, Interval.ONE_MINUTE)
    csv = pl.read_csv(io.BytesIO(b"".join([chunk async for chunk in series.export(asked, Format.CSV)])))
    parquet = pl.read_parquet(io.BytesIO(b"".join([chunk async for chunk in series.export(asked, Format.PARQUET)])))
    assert csv["open"].to_list() == parquet["open"].to_list() == [100 + n for n in range(50)]


async def test_a_questdb_that_is_away_is_an_error_that_says_so() -> None:
    away = TimeSeries("http://127.0.0.1:9")
    with pytest.raises(TimeSeriesUnavailable, match="does not answer"):
        await away.create_tables()
    await away.close()
