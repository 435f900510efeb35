"""The log: every topic that money depends on, from the beginning to where it ended when asked."""

import time
from collections.abc import Iterator, Mapping
from typing import Protocol

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient, OffsetSpec

from libs.common.clock import SystemClock
from libs.common.contracts import topics
from libs.common.contracts.base import Topic
from libs.common.messaging.entry import of_librdkafka
from libs.common.settings import KafkaSettings
from tools.reconcile.record import Partition, Record, Span

RESTLESS = ("marketdata.", topics.RISK_WATCHES.name)
"""Prices, contracts and how far they moved: no order, no money, and never at rest."""
TOLD_BY_MARKETDATA = (topics.SETTLEMENTS, topics.CORPORATE_ACTIONS)
"""What moves positions all the same."""
MONEY = tuple(
    sorted(
        topic.name
        for topic in vars(topics).values()
        if isinstance(topic, Topic) and (topic in TOLD_BY_MARKETDATA or not topic.name.startswith(RESTLESS))
    )
)
BATCH = 2_000
ANSWER_S = 10.0
SILENT = 0
"""What goes wrong is raised, not written to the terminal."""


class LogUnreadable(Exception):
    """Kafka does not answer, or not in time; says what was asked."""


class Log(Protocol):
    def spans(self) -> Mapping[Partition, Span]:
        """What each partition of the topics of money holds now."""

    def read(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        """What was not read before, each partition in its order, up to these offsets."""

    def again(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        """All of it from the beginning once more."""

    def newest(self, topic: str, seconds: float) -> list[Record]:
        """What was written to a topic lately, be it one of money or not."""

    def close(self) -> None: ...


class KafkaLog:
    """Reads with a consumer of its own that joins no group. `prefix` stands before every topic's name (for tests)."""

    def __init__(self, kafka: KafkaSettings, *, prefix: str = "", patience_s: float = 120.0) -> None:
        self._kafka = kafka
        self._prefix = prefix
        self._patience_s = patience_s
        self._admin = AdminClient({**of_librdkafka(kafka), "log_level": SILENT})
        self._consumer = self._connect()
        self._next: dict[Partition, int] = {}
        self._low: dict[Partition, int] = {}

    def spans(self) -> Mapping[Partition, Span]:
        partitions = self._partitions(*MONEY)
        low = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        high = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        self._low.update(low)
        return {each: Span(low[each], high[each]) for each in partitions}

    def read(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        return self._read(self._consumer, self._next, until)

    def again(self, until: Mapping[Partition, int]) -> Iterator[Record]:
        consumer = self._connect()
        try:
            yield from self._read(consumer, {}, until)
        finally:
            consumer.close()

    def newest(self, topic: str, seconds: float) -> list[Record]:
        partitions = self._partitions(topic)
        since = int((SystemClock().now().timestamp() - seconds) * 1000)
        low = self._offsets(partitions, OffsetSpec.for_timestamp(since))
        until = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        begin = {each: offset if offset >= 0 else until[each] for each, offset in low.items()}
        consumer = self._connect()
        try:
            return list(self._read(consumer, begin, until))
        finally:
            consumer.close()

    def close(self) -> None:
        self._consumer.close()

    def _connect(self) -> Consumer:
        return Consumer(
            {
                **of_librdkafka(self._kafka),
                "log_level": SILENT,
                "group.id": "reconcile",  # demanded by the client; partitions are assigned by hand, nobody joins it
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": 32_768,
                "fetch.wait.max.ms": 50,
            }
        )

    def _partitions(self, *names: str) -> list[Partition]:
        try:
            known = self._admin.list_topics(timeout=ANSWER_S).topics
        except KafkaException as error:
            raise LogUnreadable(f"Kafka at {self._kafka.kafka_bootstrap} does not tell its topics: {error}") from error
        named = [(name, known.get(self._prefix + name)) for name in names]
        return [(name, partition) for name, found in named if found for partition in found.partitions]

    def _offsets(self, partitions: list[Partition], which: OffsetSpec) -> dict[Partition, int]:
        asked = {TopicPartition(self._prefix + topic, partition): which for topic, partition in partitions}
        if not asked:
            return {}
        try:
            answers = self._admin.list_offsets(asked, request_timeout=ANSWER_S)
            found = {tp: future.result(timeout=ANSWER_S).offset for tp, future in answers.items()}
            if unanswered := [tp for tp, offset in found.items() if offset == OFFSET_INVALID]:
                raise TimeoutError(f"nobody said where {unanswered[0].topic} of {len(unanswered)} begins or ends")
        except (KafkaException, TimeoutError) as error:
            raise LogUnreadable(f"Kafka at {self._kafka.kafka_bootstrap} does not tell its offsets: {error}") from error
        return {(tp.topic.removeprefix(self._prefix), tp.partition): offset for tp, offset in found.items()}

    def _read(
        self, consumer: Consumer, following: dict[Partition, int], until: Mapping[Partition, int]
    ) -> Iterator[Record]:
        for each in until:
            following.setdefault(each, self._low.get(each, 0))
        left = {each for each, end in until.items() if following[each] < end}
        if not left:
            return
        consumer.assign([TopicPartition(self._prefix + topic, n, following[topic, n]) for topic, n in left])
        deadline = time.monotonic() + self._patience_s
        while left:
            if time.monotonic() > deadline:
                raise LogUnreadable(f"{len(left)} partitions were not read in {self._patience_s:.0f} s: {sorted(left)}")
            for message in consumer.consume(BATCH, timeout=0.2):
                partition = (str(message.topic()).removeprefix(self._prefix), int(message.partition() or 0))
                record = self._record(message)
                end = until[partition]
                if partition in left and record is not None and record.offset < end:
                    following[partition] = record.offset + 1
                    yield record
                if (message.offset() or 0) + (record is not None) >= end:
                    following[partition] = max(following[partition], end)
                    left.discard(partition)
        consumer.unassign()

    def _record(self, message: KafkaMessage) -> Record | None:
        """None for the news that a partition ends here."""
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise LogUnreadable(f"Kafka: {error}")
        return Record(
            str(message.topic()).removeprefix(self._prefix),
            int(message.partition() or 0),
            int(message.offset() or 0),
            int(message.timestamp()[1]),
            _text(message.key()),
            _headers(message.headers()),
            _bytes(message.value()),
        )


def _headers(found: object) -> dict[str, bytes]:
    """The client types them as a list or a dictionary of strings or bytes; they come as pairs."""
    return {str(pair[0]): _bytes(pair[1]) for pair in found} if isinstance(found, list) else {}


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
