"""Reading Kafka without a group: partition by partition, from where we say, and nothing of it lost or repeated."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import OFFSET_INVALID, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.messaging.inbox import Partition
from libs.common.messaging.reader import Reader
from libs.common.settings import KafkaSettings

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "")


class Scene:
    """A topic of two partitions, somebody who writes to it, and a reader."""

    def __init__(self, topic: str, producer: AIOKafkaProducer, reader: Reader) -> None:
        self.topic = topic
        self.producer = producer
        self.reader = reader
        self.one: Partition = (topic, 0)
        self.other: Partition = (topic, 1)

    async def write(self, partition: Partition, *values: str) -> None:
        for value in values:
            await self.producer.send_and_wait(self.topic, value.encode(), partition=partition[1])

    async def reads(self, count: int) -> list[str]:
        """The next `count` values, sorted: partitions come in no order of their own."""
        values: list[str] = []
        async with asyncio.timeout(10):
            while len(values) < count:
                values += [(m.value() or b"").decode() for m in await self.reader.read(100, 0.2)]
        return sorted(values)

    async def reads_no_more(self) -> None:
        assert [m.value() for _ in range(5) for m in await self.reader.read(100, 0.1)] == []


class Unheard:
    """As librdkafka answers for a broker that dies once it was asked, or is silent: with a number that is no offset."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._client = AdminClient({"bootstrap.servers": kafka.kafka_bootstrap, "log_level": 0})

    def list_topics(self, timeout: float) -> object:
        return self._client.list_topics(timeout=timeout)

    def list_offsets(self, asked: dict[TopicPartition, OffsetSpec], request_timeout: float) -> object:
        answers = self._client.list_offsets(asked, request_timeout=request_timeout)
        for answer in answers.values():
            answer.result(request_timeout).offset = OFFSET_INVALID
        return answers


@pytest.fixture
async def scene(real_servers: None) -> AsyncIterator[Scene]:
    topic = f"reader{ids.new_id().hex[-12:]}"
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    await asyncio.to_thread(admin.create_topics([NewTopic(topic, 2, 1)])[topic].result)
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, acks="all")
    await producer.start()
    reader = Reader(KafkaSettings(), "test", tell_ends=True)
    try:
        yield Scene(topic, producer, reader)
    finally:
        await reader.close()
        await producer.stop()
        await asyncio.to_thread(admin.delete_topics([topic])[topic].result)


async def test_a_partition_is_read_from_where_we_say(scene: Scene) -> None:
    await scene.write(scene.one, "a0", "a1", "a2")
    await scene.write(scene.other, "b0", "b1")
    scene.reader.begin({scene.one: 1})
    assert await scene.reads(2) == ["a1", "a2"]
    scene.reader.begin({scene.other: 0})
    assert await scene.reads(2) == ["b0", "b1"]
    await scene.reads_no_more()


async def test_a_partition_that_was_ended_is_silent_and_the_others_go_on(scene: Scene) -> None:
    scene.reader.begin({scene.one: 0, scene.other: 0})
    await scene.write(scene.one, "a0")
    assert await scene.reads(1) == ["a0"]
    scene.reader.end([scene.one])
    await scene.write(scene.one, "a1")
    await scene.write(scene.other, "b0")
    assert await scene.reads(1) == ["b0"]
    await scene.reads_no_more()
    scene.reader.begin({scene.one: 0})
    assert await scene.reads(2) == ["a0", "a1"]


async def test_a_read_that_is_cancelled_loses_nothing(scene: Scene) -> None:
    """Cancelled while its thread waits, the message comes, and nobody is there to take it."""
    scene.reader.begin({scene.one: 0})
    await scene.reads_no_more()
    waiting = asyncio.create_task(scene.reader.read(100, 5.0))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await scene.write(scene.one, "a0")
    await asyncio.sleep(0.3)
    assert await scene.reads(1) == ["a0"]


async def test_it_tells_how_far_behind_it_is_and_when_it_has_reached_an_end(scene: Scene) -> None:
    await scene.write(scene.one, "a0", "a1", "a2")
    assert await scene.reader.ends([scene.one, scene.other]) == {scene.one: 3, scene.other: 0}
    scene.reader.begin({scene.one: 0})
    await scene.reads(3)
    assert (scene.reader.lag(scene.one, 1), scene.reader.lag(scene.one, 3)) == (2, 0)
    async with asyncio.timeout(10):
        while scene.one not in scene.reader.at_end:
            await scene.reader.read(100, 0.1)


async def test_a_moment_is_found_in_the_log(scene: Scene) -> None:
    await scene.write(scene.one, "a0")
    after_all = 2**42
    assert await scene.reader.since([scene.one], 0) == {scene.one: 0}
    assert await scene.reader.since([scene.one], after_all) == {scene.one: None}


async def test_an_end_that_nobody_told_in_time_is_no_place_in_the_log(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka fails no question whose broker does not answer, or dies: it gives a number that is no offset. Our log
    told people to stop everything then, as Kafka had lost what was read of it, nobody was ready for a minute, and who
    began just then took nothing for all that there is.
    """
    monkeypatch.setattr("libs.common.messaging.reader._admin", Unheard)
    with pytest.raises(KafkaException):
        await scene.reader.ends([scene.one, scene.other])
    with pytest.raises(KafkaException):
        await scene.reader.since([scene.one], 0)


async def test_a_topic_that_is_not_there_has_no_partitions(scene: Scene) -> None:
    assert await scene.reader.partitions([scene.topic, "nowhere.v1"]) == {scene.topic: [0, 1]}


async def test_who_asked_for_the_partitions_reads_them_at_once(scene: Scene) -> None:
    """The client learns by itself who leads a partition, once a second: a service that had just been started heard
    nothing for that long, and said that it was ready. One partition alone: a first fetch that goes out with only the
    other, empty one waits at the broker for half a second.
    """
    await scene.write(scene.one, "a0")
    waits = []
    for _ in range(5):
        reader = Reader(KafkaSettings(), "test")
        await reader.partitions([scene.topic])
        reader.begin({scene.one: 0})
        began = stopwatch()
        async with asyncio.timeout(10):
            while not await reader.read(100, 0.2):
                pass
        waits.append(stopwatch() - began)
        await reader.close()
    assert sorted(waits)[2] < 0.4, waits


async def test_a_closed_reader_reads_nothing(scene: Scene) -> None:
    await scene.reader.close()
    assert not await scene.reader.read(10, 0.1)


async def test_what_it_does_while_it_waits_stands_in_nobodys_way(scene: Scene) -> None:
    """The client lets one thread in at a time: one that waited within would stop our loop at every other call."""
    scene.reader.begin({scene.one: 0})
    waiting = asyncio.create_task(scene.reader.read(100, 30.0))
    await asyncio.sleep(0.5)
    began = stopwatch()
    for _ in range(20):
        scene.reader.lag(scene.one, 0)
        scene.reader.begin({scene.other: 0})
        scene.reader.end([scene.other])
    assert stopwatch() - began < 5
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
