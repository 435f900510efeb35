"""From Kafka to QuestDB and candles on the real servers, with writers that are killed and servers that go away."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from libs.common import ids
from libs.common.clock import FixedClock
from libs.common.contracts import topics
from libs.common.contracts.enums import FeedSource
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed, Tick
from libs.common.messaging.bulk_reader import forget
from libs.common.testing.apps import opened
from services.marketdata.adapters.recomputed import recomputed
from services.marketdata.app import app
from services.marketdata.domain.candles import candles_of
from services.marketdata.domain.intervals import Interval
from services.marketdata.store.series import Selection, TimeSeries
from services.marketdata.streams import write_series
from services.marketdata.streams.repair import repair
from tests.services.marketdata.cable import Cable
from tests.services.marketdata.samples import OPEN, keeping_all, tick

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

    MarketRuntime = Runtime[ContractStore, MarketMemory]

pytestmark = pytest.mark.servers
END = timedelta(minutes=30)
LONG_STOPPED, AWAKE_FOR = 6.0, 3.0
"""Seconds."""


@pytest.fixture
async def runtime(group: str) -> "AsyncIterator[MarketRuntime]":
    """Its clock stands still, so that only the ticks' own times close a candle."""
    async with opened(app, clock=FixedClock(OPEN)) as runtime:
        await keeping_all(runtime.memory.series)
        runtime.memory.writer_group = group
        yield runtime


@contextlib.asynccontextmanager
async def writing(runtime: "MarketRuntime") -> AsyncIterator[None]:
    task = asyncio.create_task(write_series(runtime))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def instruments(count: int) -> list[InstrumentId]:
    run = ids.new_id().hex[-10:].upper()
    return [InstrumentId(f"NSE:W{run}{n}") for n in range(count)]


def day_of(names: Sequence[InstrumentId], minutes: int) -> list[Tick]:
    """Two ticks a second of each, in the order of their receipt, and one much later that ends the last minute."""
    ticks = [
        tick(n / 2, 100 + (n * 7 + k) % 13, n * 10, name) for n in range(minutes * 120) for k, name in enumerate(names)
    ]
    return ticks + [tick(END.total_seconds(), 100, 10**6, name) for name in names]


async def rows(series: TimeSeries, name: InstrumentId, interval: Interval) -> list[dict[str, object]]:
    return await series.rows(Selection(name, interval, OPEN - END, OPEN + END), 5_000)


async def eventually(series: TimeSeries, name: InstrumentId, interval: Interval, count: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for _ in range(300):
        found = await rows(series, name, interval)
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    return found


def told(candles: Sequence[CandleClosed], name: InstrumentId) -> list[tuple[object, ...]]:
    return [
        (c.start, c.open, c.high, c.low, c.close, c.volume)
        for c in candles
        if c.instrument == name and c.start < OPEN + END
    ]


def stored(found: Sequence[dict[str, object]]) -> list[tuple[object, ...]]:
    return [
        (datetime.fromisoformat(str(row["start"])), *(row[each] for each in ("open", "high", "low", "close", "volume")))
        for row in found
    ]


async def test_ticks_in_kafka_become_rows_and_the_candles_that_the_rule_makes_of_them(
    runtime: "MarketRuntime",
) -> None:
    names = instruments(3)
    ticks = day_of(names, 3)
    async with writing(runtime):
        for each in ticks:
            runtime.publish_bulk(each)
        for name in names:
            assert len(await eventually(runtime.memory.series, name, Interval.TICK, 360)) == 360
            found = await eventually(runtime.memory.series, name, Interval.ONE_MINUTE, 3)
            assert stored(found) == told(candles_of(ticks), name)


async def test_what_is_carried_in_the_middle_of_a_session_has_the_same_first_candle_by_every_road(
    runtime: "MarketRuntime",
) -> None:
    """By a writer that is started anew in that minute, and from the stored ticks."""
    (name,) = instruments(1)
    told_live = {"source": FeedSource.LIVE, "ltq": 10}
    carried = [tick(600 + n / 2, 100, 8_000_000 + n * 10, name).model_copy(update=told_live) for n in range(240)]
    ticks = [*carried, tick(END.total_seconds(), 100, 10**7, name)]
    series = runtime.memory.series
    async with writing(runtime):
        for each in ticks[:60]:
            runtime.publish_bulk(each)
        await eventually(series, name, Interval.TICK, 60)
    async with writing(runtime):
        for each in ticks[60:]:
            runtime.publish_bulk(each)
        assert len(await eventually(series, name, Interval.TICK, 240)) == 240
        found = await eventually(series, name, Interval.ONE_MINUTE, 2)
    made = await recomputed(series, name, OPEN.date(), OPEN + timedelta(days=1))
    assert [row["volume"] for row in found] == [1_200, 1_200]
    assert stored(found) == told(candles_of(ticks), name) == told(made, name)


async def test_closed_candles_are_told_on_kafka(runtime: "MarketRuntime", group: str) -> None:
    (name,) = instruments(1)
    reader = Consumer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"], "group.id": f"{group}-reader"})
    ends = []
    for partition in range(topics.CANDLES.partitions):
        mark = TopicPartition(topics.CANDLES.name, partition)
        mark.offset = reader.get_watermark_offsets(mark, timeout=10)[1]
        ends.append(mark)
    reader.assign(ends)
    ticks = day_of([name], 2)
    async with writing(runtime):
        for each in ticks:
            runtime.publish_bulk(each)
        found: list[CandleClosed] = []
        for _ in range(300):
            messages = await asyncio.to_thread(reader.consume, 100, 0.1)
            heard = (CandleClosed.model_validate(orjson.loads(message.value() or b"")) for message in messages)
            found += [candle for candle in heard if candle.instrument == name]
            if len(found) == 2:
                break
    reader.close()
    assert told(found, name) == told(candles_of(ticks), name)


async def test_a_writer_that_is_killed_in_the_middle_of_a_minute_loses_and_changes_nothing(
    runtime: "MarketRuntime", group: str
) -> None:
    names = instruments(5)
    ticks = day_of(names, 4)
    command = (sys.executable, "-m", "tests.services.marketdata.writing", group, OPEN.isoformat())
    first = await asyncio.create_subprocess_exec(*command)
    for each in ticks[:1_500]:
        runtime.publish_bulk(each)
    await eventually(runtime.memory.series, names[0], Interval.TICK, 300)
    for each in ticks[1_500:1_700]:
        runtime.publish_bulk(each)
    first.kill()
    await first.wait()
    for each in ticks[1_700:]:
        runtime.publish_bulk(each)
    async with writing(runtime):
        for name in names:
            assert len(await eventually(runtime.memory.series, name, Interval.TICK, 480)) == 480
            found = await eventually(runtime.memory.series, name, Interval.ONE_MINUTE, 4)
            assert stored(found) == told(candles_of(ticks), name)


async def test_a_writer_that_stood_still_closes_no_minute_of_which_another_saw_the_rest(
    runtime: "MarketRuntime", group: str
) -> None:
    """Seen: it found by its clock that the minute was over, and wrote and told the half that it knew."""
    (name,) = instruments(1)
    ticks = day_of([name], 2)
    series = runtime.memory.series
    times = (OPEN.isoformat(), (OPEN + END).isoformat())
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.services.marketdata.writing", group, *times
    )
    try:
        for each in ticks[:60]:
            runtime.publish_bulk(each)
        assert len(await eventually(series, name, Interval.TICK, 60)) == 60
        first.send_signal(signal.SIGSTOP)
        async with writing(runtime):
            for each in ticks[60:]:
                runtime.publish_bulk(each)
            assert stored(await eventually(series, name, Interval.ONE_MINUTE, 2)) == told(candles_of(ticks), name)
            await asyncio.sleep(LONG_STOPPED)
        first.send_signal(signal.SIGCONT)
        await asyncio.sleep(AWAKE_FOR)
        assert stored(await rows(series, name, Interval.ONE_MINUTE)) == told(candles_of(ticks), name)
    finally:
        first.kill()
        await first.wait()


async def test_writers_share_the_partitions_and_take_them_over_in_the_middle_of_a_minute(
    runtime: "MarketRuntime",
) -> None:
    names = instruments(8)
    ticks = day_of(names, 4)
    async with writing(runtime):
        for each in ticks[:1_000]:
            runtime.publish_bulk(each)
        await eventually(runtime.memory.series, names[0], Interval.TICK, 100)
        runtime.settings = runtime.settings.model_copy(update={"instance_id": "1"})
        async with writing(runtime):
            for each in ticks[1_000:2_500]:
                runtime.publish_bulk(each)
            await eventually(runtime.memory.series, names[0], Interval.TICK, 300)
        for each in ticks[2_500:]:
            runtime.publish_bulk(each)
        for name in names:
            assert len(await eventually(runtime.memory.series, name, Interval.TICK, 480)) == 480
            found = await eventually(runtime.memory.series, name, Interval.ONE_MINUTE, 4)
            assert stored(found) == told(candles_of(ticks), name)


async def test_candles_of_ticks_that_kafka_brought_minutes_late_are_repaired(runtime: "MarketRuntime") -> None:
    """The clock says that the minutes are long over when the ticks come, as after an outage of Kafka."""
    (name,) = instruments(1)
    ticks = day_of([name], 4)
    runtime.clock = FixedClock(OPEN + END + timedelta(minutes=5))
    missed = runtime.memory.writing.missed
    async with writing(runtime):
        await asyncio.sleep(3)
        for first in (0, 240):
            for each in ticks[first : first + 240]:
                runtime.publish_bulk(each)
            await eventually(runtime.memory.series, name, Interval.TICK, first + 240)
        for _ in range(300):
            if missed:
                break
            await asyncio.sleep(0.1)
        assert missed
        await repair(runtime)
        assert not missed
    found: list[tuple[object, ...]] = []
    for _ in range(300):
        found = stored(await rows(runtime.memory.series, name, Interval.ONE_MINUTE))
        if found == told(candles_of(ticks), name):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def test_what_questdb_lost_is_written_again_from_kafka_when_its_reader_is_forgotten(
    runtime: "MarketRuntime", group: str
) -> None:
    """Its disk was lost, say. The writer went on from its last commit, and what Kafka had of the day stayed away."""
    [name], past, series = instruments(1), timedelta(days=-2), runtime.memory.series
    count = f"SELECT count() FROM ticks WHERE instrument = '{name}'"  # noqa: S608
    day = day_of([name], 1)
    ticks = [each.model_copy(update={"at": each.at + past, "received_at": each.at + past}) for each in day]

    async def all_are_written() -> None:
        async with writing(runtime), asyncio.timeout(60):
            while await series.ask(count) != [[len(ticks)]]:
                await asyncio.sleep(0.1)

    for each in ticks:
        runtime.publish_bulk(each)
    await all_are_written()
    await series.ask(f"ALTER TABLE ticks DROP PARTITION LIST '{(OPEN + past).date()}'")
    await series.applied("ticks")
    assert await series.ask(count) == [[0]]
    await asyncio.to_thread(forget, group, runtime.settings)
    await all_are_written()


async def test_a_receipt_from_the_future_closes_no_minute(runtime: "MarketRuntime") -> None:
    """A wrong clock once stamped a tick: the minutes that go on take their ticks all the same."""
    (name,) = instruments(1)
    ticks = day_of([name], 2)
    wrong = tick(1, 500, 0, name).model_copy(update={"received_at": OPEN + timedelta(days=3)})
    async with writing(runtime):
        runtime.publish_bulk(wrong)
        assert await eventually(runtime.memory.series, name, Interval.TICK, 1)
        for each in ticks:
            runtime.publish_bulk(each)
        found = await eventually(runtime.memory.series, name, Interval.ONE_MINUTE, 2)
    assert stored(found) == told(candles_of(ticks), name)


async def test_while_questdb_is_away_ticks_wait_in_kafka(runtime: "MarketRuntime") -> None:
    (name,) = instruments(1)
    here = runtime.memory.series
    runtime.memory.series = TimeSeries("http://127.0.0.1:9")
    async with writing(runtime):
        for each in day_of([name], 1):
            runtime.publish_bulk(each)
        await asyncio.sleep(1.5)
        away, runtime.memory.series = runtime.memory.series, here
        assert len(await eventually(here, name, Interval.TICK, 120)) == 120
    await away.close()


async def test_rows_that_were_on_their_way_when_questdb_died_are_written_when_it_is_back(
    runtime: "MarketRuntime",
) -> None:
    """What was read from Kafka is committed only with its rows: closing the reader must not do it."""
    (name,) = instruments(1)
    here, ticks = runtime.memory.series, day_of([name], 1)
    async with Cable(here.url) as cable:
        over = runtime.memory.series = TimeSeries(cable.url)
        async with writing(runtime):
            for each in ticks[:10]:
                runtime.publish_bulk(each)
            assert len(await eventually(here, name, Interval.TICK, 10)) == 10
            cable.sever()
            for each in ticks[10:]:
                runtime.publish_bulk(each)
            await asyncio.sleep(2)
            cable.mend()
            assert len(await eventually(here, name, Interval.TICK, 120)) == 120
        runtime.memory.series = here
        await over.close()


async def test_a_message_that_is_no_tick_is_passed_over(runtime: "MarketRuntime") -> None:
    (name,) = instruments(1)
    async with writing(runtime):
        producer = runtime.bulk.start()
        whole = tick(1, instrument=name).model_dump(mode="json")
        wrong = [
            orjson.dumps(whole | each) for each in ({"ltp": None}, {"source": "OTHER"}, {"at": "now"}, {"volume": "x"})
        ]
        for broken in (b"no json", b"{}", b'{"instrument": 5}', b"1, 2", *wrong):
            producer.produce(topics.TICKS.name, broken, name.encode())
        for each in day_of([name], 1):
            runtime.publish_bulk(each)
        assert len(await eventually(runtime.memory.series, name, Interval.TICK, 120)) == 120
