"""The tests here begin on topics without what earlier tests told."""

import os

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from libs.common import ids
from tests.e2e.emptying import empty, policies


@pytest.mark.servers
def test_topics_that_were_made_this_moment_are_emptied() -> None:
    """On a Kafka that was just formatted they are all new: a partition without a leader yet ended every test here."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for _ in range(20):
        topic = f"emptied{ids.new_id().hex[-12:]}"
        admin.create_topics([NewTopic(topic, 50, 1)])[topic].result(10)
        try:
            empty(bootstrap, {topic})
        finally:
            admin.delete_topics([topic])[topic].result(10)


@pytest.mark.servers
def test_a_compacted_topic_is_emptied_too_and_compacted_after() -> None:
    """Kafka lets nobody delete from one: contracts that earlier tests had listed were traded by later ones."""
    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    admin, topic = AdminClient({"bootstrap.servers": bootstrap}), f"emptied{ids.new_id().hex[-12:]}"
    admin.create_topics([NewTopic(topic, 2, 1, config={"cleanup.policy": "compact"})])[topic].result(10)
    try:
        producer = Producer({"bootstrap.servers": bootstrap})
        for partition in range(2):
            producer.produce(topic, b"listed", b"NSE:SBIN", partition=partition)
        assert producer.flush(10) == 0
        empty(bootstrap, {topic})
        asked = {TopicPartition(topic, n): OffsetSpec.earliest() for n in range(2)}  # type: ignore[no-untyped-call]
        assert [found.result(10).offset for found in admin.list_offsets(asked).values()] == [1, 1]
        assert policies(admin, [topic]) == {topic: "compact"}
    finally:
        admin.delete_topics([topic])
