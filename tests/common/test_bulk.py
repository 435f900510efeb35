"""What volume rules: a tail hears all of a topic."""

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from libs.common.clock import SystemClock, stopwatch
from libs.common.contracts.base import Topic
from libs.common.messaging.bulk_reader import BulkTail, BulkUnavailable
from libs.common.settings import KafkaSettings
from tests.common.ledger import BalanceChanged, Ledger


@pytest.fixture
def tail(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[BulkTail]:
    monkeypatch.setattr("libs.common.messaging.bulk_reader.PARTITIONS_EVERY_S", 0.5)
    made = tail_of(ledger.events)
    yield made
    made.close()


def tail_of(topic: Topic) -> BulkTail:
    """Once Kafka knows the topic, which was made a moment ago."""
    until = stopwatch() + 10
    while True:
        try:
            return BulkTail(topic, KafkaSettings(), SystemClock().now() - timedelta(seconds=30))
        except BulkUnavailable:
            assert stopwatch() < until
            time.sleep(0.2)


async def test_a_tail_hears_the_partitions_that_a_topic_is_given(ledger: Ledger, tail: BulkTail) -> None:
    """Half of the instruments had no book where somebody had doubled the partitions of ticks."""
    name, there = ledger.events.name, ledger.events.partitions
    kafka = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
    await asyncio.to_thread(kafka.create_partitions([NewPartitions(name, there + 1)])[name].result, 10)
    producer = Producer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"], "acks": "all"})
    await asyncio.sleep(1)
    producer.produce(name, b"new", b"key", partition=there)
    assert await asyncio.to_thread(producer.flush, 10) == 0
    assert await asyncio.to_thread(hears, tail) == [b"new"]
    later = tail_of(Topic(name, BalanceChanged, key="account_id", partitions=there))
    try:
        assert await asyncio.to_thread(hears, later) == [b"new"]
    finally:
        later.close()


def hears(tail: BulkTail) -> list[bytes | None]:
    until = stopwatch() + 10
    found: list[bytes | None] = []
    while not found and stopwatch() < until:
        found += [record.value() for record in tail.read(100, 0.25)]
    return found
