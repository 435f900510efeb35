"""Is the log still the one that the services have read? A reader beyond its end would pass over what comes next."""

import asyncio

import asyncpg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from libs.common.messaging.entry import of_librdkafka
from libs.common.settings import KafkaSettings

_ANSWER_S = 10.0
_NOT_THERE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_READ = "SELECT topic, partition, next_offset FROM {}.message_offsets WHERE next_offset > 0 ORDER BY topic, partition"


async def read_beyond_the_end(url: str, kafka: KafkaSettings) -> list[str]:
    """In words, each place up to which a service has read and which Kafka does not have. KafkaException when it does
    not say.
    """
    connection = await asyncpg.connect(url, timeout=10)
    try:
        schemas = await connection.fetch("SELECT schemaname FROM pg_tables WHERE tablename = 'message_offsets'")
        read = [(schema, *row) for (schema,) in schemas for row in await connection.fetch(_READ.format(schema))]
    finally:
        await connection.close()
    ends = await asyncio.to_thread(_ends, kafka, {(topic, partition) for _, topic, partition, _ in read})
    return [
        f"{schema} has read {topic}/{partition} up to {offset}, Kafka has it up to {ends[topic, partition]}"
        for schema, topic, partition, offset in read
        if offset > ends[topic, partition]
    ]


def _ends(kafka: KafkaSettings, places: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """0 for a topic that is not there."""
    ends = dict.fromkeys(places, 0)
    consumer = Consumer({**of_librdkafka(kafka), "group.id": "whole", "enable.auto.commit": False})
    try:
        for topic, partition in places:
            try:
                found = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ANSWER_S)
            except KafkaException as error:
                if error.args[0].code() not in _NOT_THERE:
                    raise
            else:
                ends[topic, partition] = found[1]
    finally:
        consumer.close()
    return ends
