"""The log read from its beginning in order of time: what rebuilds and replays read."""

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka.admin import AdminClient

from libs.common.clock import stopwatch
from libs.common.messaging.entry import Refused, knock, of_aiokafka, of_librdkafka
from libs.common.messaging.envelope import Headers, moment_of
from libs.common.messaging.inbox import Partition
from libs.common.settings import KafkaSettings

_PAGE = 1_000
_PATIENCE_S = 60.0
"""Longer than a Kafka that was restarted takes to be back."""


class LogAway(Exception):
    """Kafka does not answer, gives nothing more, or has nothing of it; says what was asked."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of a topic, as it was kept; `timestamp` is Kafka's, in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    value: bytes | None

    @property
    def said_at(self) -> datetime:
        """When the message was said; when Kafka kept it, if it does not tell."""
        for name, value in self.headers:
            if name == "ce_time":
                with contextlib.suppress(ValueError):
                    return moment_of(value)
        return datetime.fromtimestamp(self.timestamp / 1000, UTC)


class KafkaLog:
    """Everything in some topics up to where they ended when this was opened.

    `absent_ok` when those that Kafka does not have yet may be left out: a version that adds a topic may come before it.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: Collection[str], *, absent_ok: bool = False, patience_s: float = _PATIENCE_S
    ) -> None:
        self._kafka = kafka
        self._absent_ok = absent_ok
        self._patience_s = patience_s
        self._topics = sorted(topics)
        self._consumer = AIOKafkaConsumer(
            **of_aiokafka(kafka),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4_194_304,
            fetch_max_wait_ms=100,
        )
        self._assigned: list[TopicPartition] = []
        self.begins: dict[Partition, int] = {}
        self.ends: dict[Partition, int] = {}

    async def open(self) -> None:
        try:
            await self._consumer.start()
        except KafkaError:
            await knock(self._kafka)
            raise
        found = await asyncio.to_thread(_partitions, self._kafka)
        missing = [topic for topic in self._topics if not found.get(topic)]
        if missing and (missing == self._topics or not self._absent_ok):
            raise LogAway(f"Kafka has no topic {', '.join(missing)}; `python -m libs.common.messaging topics` makes it")
        self._assigned = [TopicPartition(topic, p) for topic in self._topics for p in found.get(topic, ())]
        self._consumer.assign(self._assigned)
        begins = await self._consumer.beginning_offsets(self._assigned)
        self.begins = {(tp.topic, tp.partition): offset for tp, offset in begins.items()}
        await self.mark()

    async def mark(self) -> None:
        """It ends now, not when it was opened."""
        ends = await self._consumer.end_offsets(self._assigned)
        self.ends = {(tp.topic, tp.partition): offset for tp, offset in ends.items()}

    async def close(self) -> None:
        await self._consumer.stop()

    def partitions(self) -> "list[AsyncIterator[Logged]]":
        """The records of each partition, in order."""
        return [self.read(*partition) for partition in sorted(self.ends)]

    async def read(self, topic: str, partition: int, since: int = 0) -> AsyncGenerator[Logged, None]:
        """Compaction leaves gaps: the partition is over when the position has reached its end."""
        tp, end = TopicPartition(topic, partition), self.ends[topic, partition]
        at = max(self.begins[topic, partition], since)
        if at >= end:
            return
        self._consumer.seek(tp, at)
        until = stopwatch() + self._patience_s
        while at < end:
            polled = await self._consumer.getmany(tp, timeout_ms=200, max_records=_PAGE)
            for r in polled.get(tp, ()):
                if r.offset >= end:
                    return
                yield Logged(topic, partition, r.offset, r.timestamp, r.key, r.headers, r.value)
            before, at = at, await self._consumer.position(tp)
            if at > before:
                until = stopwatch() + self._patience_s
            elif stopwatch() > until:
                raise LogAway(f"Kafka gave nothing of {topic}/{partition} for {self._patience_s:.0f} s")


def _partitions(kafka: KafkaSettings) -> dict[str, list[int]]:
    topics = AdminClient(of_librdkafka(kafka)).list_topics(timeout=30).topics
    return {name: sorted(topic.partitions) for name, topic in topics.items()}


@contextlib.asynccontextmanager
async def reading(kafka: KafkaSettings, topics: Collection[str], *, absent_ok: bool = False) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka, topics, absent_ok=absent_ok)
    try:
        await log.open()
        yield log
    except Refused as error:
        raise LogAway(f"{error}; {error.remedy}") from error
    except KafkaError as error:
        raise LogAway(f"Kafka at {kafka.kafka_bootstrap} does not answer: {error!r}") from error
    finally:
        await log.close()


async def in_order_of_time(partitions: Iterable[AsyncIterator[Logged]]) -> AsyncGenerator[Logged, None]:
    """Partitions merged by when their messages were said, each in its own order.

    A cause is earlier than its effect by all that lies between them (a commit and two trips to Kafka), so services
    whose clocks agree to a millisecond or two are read in the order in which things happened.
    """
    heads: list[tuple[datetime, int, Logged]] = []
    sources = list(partitions)
    for n, source in enumerate(sources):
        async for record in source:
            heads.append((record.said_at, n, record))
            break
    heapq.heapify(heads)
    while heads:
        at, n, record = heads[0]
        yield record
        async for following in sources[n]:
            heapq.heapreplace(heads, (max(at, following.said_at), n, following))
            break
        else:
            heapq.heappop(heads)
