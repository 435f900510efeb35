"""What the log holds of a span of time: read from Kafka, as anybody could."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Consumer, Message, TopicPartition

from libs.common.ids import new_id

LONGEST_LAG_MS = 60_000
"""How much earlier than its time a record may stand in the log."""


@dataclass(frozen=True, slots=True)
class Record:
    """`at` is when its producer sent it."""

    id: str
    type: str
    key: str
    value: bytes
    at: datetime
    traceparent: str
    partition: int
    offset: int


def records(bootstrap: str, topic: str, since: datetime) -> Iterator[Record]:
    """Every record of a topic that was sent since, up to the end that it has now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": str(new_id()), "enable.auto.commit": False})
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        from_ms = int(since.timestamp() * 1000)
        starts = consumer.offsets_for_times(
            [TopicPartition(topic, n, max(0, from_ms - LONGEST_LAG_MS)) for n in known], timeout=10
        )
        ends = {each.partition: consumer.get_watermark_offsets(each, timeout=10)[1] for each in starts}
        wanted = [each for each in starts if 0 <= each.offset < ends[each.partition]]
        consumer.assign(wanted)
        left = {each.partition for each in wanted}
        while left:
            for message in consumer.consume(5000, timeout=0.5):
                if message.error():
                    continue
                record = read(message)
                if record.offset + 1 >= ends[record.partition]:
                    left.discard(record.partition)
                if record.at >= since:
                    yield record
    finally:
        consumer.close()


def read(message: Message) -> Record:
    headers = dict(message.headers() or [])
    return Record(
        id=text(headers.get("ce_id")),
        type=text(headers.get("ce_type")),
        key=text(message.key()),
        value=message.value() or b"",
        at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        traceparent=text(headers.get("traceparent")),
        partition=message.partition() or 0,
        offset=message.offset() or 0,
    )


def text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
