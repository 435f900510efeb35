"""Ticks from Kafka into QuestDB and into candles, in a thread of the leader's; `writer` processes share the partitions.

Kafka is the durable road: an offset is committed only after QuestDB has the rows and Kafka the candles, so whoever is
killed, what stands in Kafka arrives. Everything is done again from the last commit, and doing it twice changes nothing.
The one answer to any failure is the same: begin again from what was committed.

Who leads takes the place of the leader before in Kafka's group by its name, at once, whatever became of that one. One
writer is cheapest: rows of several come to QuestDB out of their order in time, and it writes the day's last ones anew.

A commit says two things of a partition. The offset is where the candles in the making begin; the metadata says up to
where rows are in QuestDB already, and which minute is the first that a new candle book sees whole.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from questdb import QuestDBError

from libs.common.clock import Clock, stopwatch
from libs.common.contracts import topics
from libs.common.contracts.ids import InstrumentId
from libs.common.contracts.market import CandleClosed
from libs.common.messaging.bulk import BulkPublisher
from libs.common.messaging.bulk_reader import BulkReader, BulkRecord, Found, Mark
from libs.common.messaging.lead import Role
from libs.common.telemetry import log
from services.marketdata.domain.candles import CandleBook, Micros, micros
from services.marketdata.memory.market import WritingStatus
from services.marketdata.store.series import RowWriter, TickRow, TimeSeries, candle_row
from services.marketdata.streams import metrics
from services.marketdata.streams.records import Print, read_all

if TYPE_CHECKING:
    from libs.common.runtime import Runtime
    from services.marketdata.memory import MarketMemory
    from services.marketdata.store import ContractStore

MOST_AT_ONCE = 20_000
GATHER_SECONDS = 0.25
"""How long rows wait for company: QuestDB's cost is per write."""
COMMIT_SECONDS = 1.0
RETRY_SECONDS = 1.0
DELIVERY_SECONDS = 10.0
ASK_SECONDS = 90.0
FUTURE: Micros = 3_600_000_000
"""A receipt so far ahead of our clock is a fault."""
STOP_SECONDS = 1.0
"""The lead is not held up for longer: a thread that hangs in QuestDB or Kafka ends by itself, and commits nothing any
more once another took its place.
"""
STILL_SECONDS, AWAKE_SECONDS = 5.0, 5.0
"""Who stood still for so long may have been replaced, and hears of it within seconds of waking: until then it takes no
silence of Kafka's for the end of a minute.
"""
GRACE: Micros = 1_000_000
"""A quiet partition's minute is closed by the clock, this much later than a busy one's by its ticks."""

FAILURES = (QuestDBError, OSError, FutureTimeout)


async def write_series(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    """As long as this instance leads, whatever QuestDB and Kafka do."""
    try:
        await _write_series(runtime)
    finally:
        runtime.memory.writing.waiting = 0
        metrics.ROWS_WAITING.set(0)  # what waits is another's to tell


async def _write_series(runtime: "Runtime[ContractStore, MarketMemory]") -> None:
    memory = runtime.memory
    away = False
    while True:
        if runtime.lead.role is Role.LEADER and not runtime.lead.leads():
            await asyncio.sleep(RETRY_SECONDS)  # it slept: another may have its place
            continue
        try:
            await memory.series.create_tables()
            writer = SeriesWriter(runtime, asyncio.get_running_loop())
            log.info("series_writing")
            away = False
            await _in_thread(writer)
        except FAILURES as error:
            metrics.WRITER_FAILURES.inc()
            if not away:
                log.warning("series_waits", error=repr(error))
            away = True
        await asyncio.sleep(RETRY_SECONDS)


async def _in_thread(writer: "SeriesWriter") -> None:
    running = asyncio.get_running_loop().run_in_executor(None, writer.run)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        writer.stop.set()
        running.add_done_callback(_note_failure)
        await asyncio.wait([running], timeout=STOP_SECONDS)
        raise


def _note_failure(running: "asyncio.Future[None]") -> None:
    if not running.cancelled() and (error := running.exception()):
        log.warning("series_ended", error=repr(error))


@dataclass(slots=True)
class Partition:
    """One partition of ours: its candle book, and how far it was read and written."""

    book: CandleBook
    position: int
    written: int
    """Rows before this offset are in QuestDB already."""
    received: Micros = 0
    """The newest receipt of a tick."""

    def take(self, tick: Print, latest: Micros) -> None:
        """A tick received after `latest` was stamped by a wrong clock: it must not close minutes that go on."""
        row = tick.row
        if row.received_at > latest:
            metrics.FUTURE.inc()
            return
        instrument, at, price, source = row.instrument, row.at, row.ltp, row.source
        self.book.add(instrument, at, row.received_at, price, row.ltq, row.volume, row.oi, source, tick.offset)
        if row.received_at > self.received:
            self.received = row.received_at

    def mark(self) -> Mark:
        metadata = orjson.dumps({"written": self.position, "kept_from": self.book.kept_from}).decode()
        return Mark(self.book.needs_from(self.position), metadata)


@dataclass(slots=True)
class Batch:
    """What one round brings to QuestDB and Kafka."""

    rows: list[TickRow] = field(default_factory=list)
    candles: list[CandleClosed] = field(default_factory=list)


class SeriesWriter:
    """Everything but the constructor and `stop` belongs to the thread that `run`s."""

    def __init__(self, runtime: "Runtime[ContractStore, MarketMemory]", loop: asyncio.AbstractEventLoop) -> None:
        self.stop = threading.Event()
        self._series: TimeSeries = runtime.memory.series
        self._status: WritingStatus = runtime.memory.writing
        self._clock: Clock = runtime.clock
        self._loop = loop
        self._publisher = BulkPublisher(runtime.service, runtime.settings, runtime.clock)
        self._partitions: dict[int, Partition] = {}
        self._committed_at = self._asked_at = stopwatch()
        self._awake_from = 0.0
        self._reader = BulkReader(
            topics.TICKS,
            runtime.settings,
            runtime.memory.writer_group,
            Role.LEADER.value if runtime.lead.role is Role.LEADER else runtime.settings.instance_id,
            self._assigned,
            self._revoked,
        )

    def run(self) -> None:
        try:
            with RowWriter(self._series.url) as rows:
                while not self.stop.is_set():
                    self._round(rows)
            self._commit(wait=True)
        except Exception:
            self._partitions.clear()  # what was read is not all written, and closing must not commit it
            raise
        finally:
            self._reader.close()

    def _round(self, rows: RowWriter) -> None:
        batch = Batch()
        self._read(self._reader.read(MOST_AT_ONCE, GATHER_SECONDS), batch)
        asked_at, self._asked_at = self._asked_at, stopwatch()
        if self._asked_at - asked_at > STILL_SECONDS:
            self._awake_from = self._asked_at + AWAKE_SECONDS
        for number, partition in self._partitions.items():
            batch.candles += partition.book.close(self._all_received_before(number, partition))
        if batch.rows or batch.candles:
            rows.add_ticks(batch.rows)
            rows.add_candles(map(candle_row, batch.candles))
            rows.flush()
        if batch.candles:
            self._publish(batch.candles)
        self._tell(batch)
        if stopwatch() - self._committed_at > COMMIT_SECONDS:
            self._commit(wait=False)

    def _read(self, messages: Sequence[BulkRecord], batch: Batch) -> None:
        latest = micros(self._clock.now()) + FUTURE
        for each in read_all(messages):
            partition = self._partitions[each.partition]
            if each.offset >= partition.written:
                batch.rows.append(each.row)
            partition.take(each, latest)
        newest = {message.partition() or 0: message.offset() or 0 for message in messages}
        for number, offset in newest.items():
            self._partitions[number].position = offset + 1

    def _all_received_before(self, number: int, partition: Partition) -> Micros:
        """Every tick of the partition that was received earlier than this has been read.

        By the ticks' own receipts, or by the clock once the partition has been read to its end.
        """
        end = self._reader.end(number)
        if end is None or partition.position < end or self._asked_at < self._awake_from:
            return partition.received
        return max(partition.received, micros(self._clock.now()) - GRACE)

    def _publish(self, candles: Sequence[CandleClosed]) -> None:
        for candle in candles:
            self._publisher.publish(candle)
        if not self._publisher.flushed(DELIVERY_SECONDS):
            raise OSError(f"Kafka did not take {len(candles)} candles")

    def _commit(self, *, wait: bool) -> None:
        self._reader.commit({number: partition.mark() for number, partition in self._partitions.items()}, wait=wait)
        self._committed_at = stopwatch()

    def _assigned(self, found: Mapping[int, Found]) -> dict[int, int]:
        """Go on where the last writer of these partitions committed."""
        starts = {}
        counted: dict[Micros, Mapping[InstrumentId, tuple[int, int]]] = {}
        for number, each in found.items():
            mark = each.committed or Mark(each.first)
            known: dict[str, int] = orjson.loads(mark.metadata) if mark.metadata else {}
            kept_from = known.get("kept_from", 0)
            if kept_from and kept_from not in counted:
                asked = asyncio.run_coroutine_threadsafe(self._series.counted(kept_from), self._loop)
                counted[kept_from] = asked.result(ASK_SECONDS)
            book = CandleBook(kept_from, counted.get(kept_from))
            self._partitions[number] = Partition(book, mark.offset, known.get("written", 0))
            starts[number] = mark.offset
        log.info("series_assigned", partitions=sorted(self._partitions))
        return starts

    def _revoked(self, revoked: Sequence[int]) -> None:
        """Every round ends with its rows written, so what was read may be committed."""
        self._commit(wait=True)
        for number in revoked:
            self._partitions.pop(number, None)

    def _tell(self, batch: Batch) -> None:
        metrics.ROWS.labels("ticks").inc(len(batch.rows))
        metrics.ROWS.labels("candles").inc(len(batch.candles))
        metrics.CANDLES.inc(len(batch.candles))
        status = self._status
        status.ticks += len(batch.rows)
        status.candles += len(batch.candles)
        books = [partition.book for partition in self._partitions.values()]
        status.late = sum(book.late for book in books)
        for book in books:
            metrics.MISSED.inc(len(book.missed))
            status.missed.update(book.missed)
            book.missed.clear()
        status.waiting = sum(
            max((self._reader.end(number) or 0) - partition.position, 0)
            for number, partition in self._partitions.items()
        )
        metrics.LATE.set(status.late)
        metrics.ROWS_WAITING.set(status.waiting)
