"""Kafka's reading side for services: librdkafka fetches ahead in its own threads, the event loop takes what has come.

Fetching in Python cost five times the CPU, and let what came after a fetch wait for the next one
(docs/decisions/0017-reader.md). There is no consumer group: who reads what is told by leases, or each reads all.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from libs.common.clock import stopwatch
from libs.common.messaging.entry import of_librdkafka
from libs.common.messaging.inbox import Partition
from libs.common.messaging.librdkafka import connecting
from libs.common.settings import KafkaSettings
from libs.common.telemetry import log

PARTITIONS_EVERY_S = 60.0
"""How often who reads topics asks Kafka whether they have more partitions than they had."""
_ANSWER_S = 5.0
_LOOK_EVERY_S = 0.003
"""How often we look whether something came. No thread waits instead: the client lets one thread in at a time and has
the others, our loop among them, stand still; and a wait in it outlasts a clock that is set back.
"""
_LOOK_SELDOM_S = 0.010
_LULL_S = 0.25
"""After so long without a message that somebody waits for we look more seldom: a look wakes a core, for up to a tenth
of a millisecond.
"""
_TELL_EVERY_S = 5.0
_AHEAD = 2_000
"""Messages fetched ahead of each partition."""
_AHEAD_KILOBYTES = 16_384


class Reader:
    """Reads the partitions that were begun. A method that asks Kafka raises KafkaException while it is away.

    Only the loop's thread uses the consumer, and nothing that it asks of it waits for Kafka.
    """

    def __init__(self, kafka: KafkaSettings, name: str, *, tell_ends: bool = False) -> None:
        self.at_end: set[Partition] = set()
        """Where everything was read at some time; kept only if `tell_ends`."""
        self._kafka = kafka
        self._closed = False
        self._has_asked = False
        self._quiet_until = 0.0
        self._ends: dict[Partition, int] = {}
        """Where Kafka said last that partitions end."""
        self._hurried_at = 0.0
        """When somebody last waited for what came, by the loop's time."""
        self._consumer = Consumer(
            {
                **connecting(kafka),
                "client.id": name,
                "group.id": name,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": tell_ends,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 500,
                "queued.min.messages": _AHEAD,
                "queued.max.messages.kbytes": _AHEAD_KILOBYTES,
                "fetch.queue.backoff.ms": 20,
                "topic.metadata.refresh.interval.ms": 60_000,
                "error_cb": self._note_error,
                "log_level": 0,
            }
        )

    async def partitions(self, topics: Collection[str]) -> dict[str, list[int]]:
        """The partitions of each topic that exists.

        The first time our own client asks, before it reads anything: so it knows who leads them when they are begun. By
        itself it finds out at a look that it takes once a second.
        """
        asks = _admin(self._kafka) if self._has_asked else self._consumer
        found = await asyncio.to_thread(_partitions, asks, set(topics))
        self._has_asked = True
        return found

    async def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where the next message of each will be."""
        return await asyncio.to_thread(_offsets, self._kafka, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def since(self, partitions: Collection[Partition], moment_ms: int) -> dict[Partition, int | None]:
        """The first message of each at or after a moment (milliseconds since 1970); None where there is none."""
        found = await asyncio.to_thread(_offsets, self._kafka, partitions, OffsetSpec.for_timestamp(moment_ms))
        return {partition: offset if offset >= 0 else None for partition, offset in found.items()}

    def begin(self, places: Mapping[Partition, int]) -> None:
        """Read these partitions too, from these offsets; the others are not disturbed."""
        if places:
            self._consumer.incremental_assign([TopicPartition(*each, offset) for each, offset in places.items()])

    def end(self, partitions: Collection[Partition]) -> None:
        """Read these no more."""
        if partitions:
            self._consumer.incremental_unassign([TopicPartition(*partition) for partition in partitions])

    async def read(self, most: int, seconds: float) -> Sequence[Message]:
        """What has come, at most so many, each partition's in order; waits at most so long for the first."""
        time = asyncio.get_running_loop().time
        until = time() + seconds
        messages = self._take(most)
        while not messages and time() < until:
            await asyncio.sleep(_LOOK_EVERY_S if time() - self._hurried_at < _LULL_S else _LOOK_SELDOM_S)
            messages = self._take(most)
        return [message for message in messages if message.error() is None or self._note(message)]

    def hurry(self) -> None:
        """Somebody waits for what came: more of it is likely to come, and is looked for often."""
        self._hurried_at = asyncio.get_running_loop().time()

    async def look_for_ends(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """As `ends`, and for `lag`: who does not read on fetches no more, and would not hear how much has come."""
        self._ends = await self.ends(partitions)
        return self._ends

    def lag(self, partition: Partition, position: int) -> int | None:
        """How many messages lie between the position and the end, as of the last fetch, or the last look; None before
        the first fetch.
        """
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return max(end, self._ends.get(partition, end)) - position if end >= 0 else None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._consumer.close)

    def _take(self, most: int) -> list[Message]:
        return [] if self._closed else self._consumer.consume(most, 0)

    def _note(self, message: Message) -> bool:
        """Something else than a message: the end of a partition, or a trouble that librdkafka itself will end."""
        partition, error = (message.topic() or "", message.partition() or 0), message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            self.at_end.add(partition)
        else:
            log.warning("read_failed", partition=partition, error=str(error))
        return False

    def _note_error(self, error: KafkaError) -> None:
        """librdkafka tells of every attempt to connect."""
        if stopwatch() > self._quiet_until:
            self._quiet_until = stopwatch() + _TELL_EVERY_S
            log.warning("kafka_away", error=str(error))


def _admin(kafka: KafkaSettings) -> AdminClient:
    return AdminClient({**of_librdkafka(kafka), "log_level": 0})


def _partitions(asks: AdminClient | Consumer, topics: Collection[str]) -> dict[str, list[int]]:
    found = asks.list_topics(timeout=_ANSWER_S).topics
    return {name: sorted(topic.partitions) for name, topic in found.items() if name in topics}


def _offsets(kafka: KafkaSettings, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
    if not partitions:
        return {}
    client = _admin(kafka)
    client.list_topics(timeout=_ANSWER_S)  # or it may miss who leads, and looks again after three seconds
    asked = {TopicPartition(*partition): spec for partition in partitions}
    answers = client.list_offsets(asked, request_timeout=_ANSWER_S)
    found = {(tp.topic, tp.partition): answer.result(_ANSWER_S + 1).offset for tp, answer in answers.items()}
    if unanswered := [partition for partition, offset in found.items() if offset == OFFSET_INVALID]:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"nobody said where {unanswered[0]} ends"))
    return found
