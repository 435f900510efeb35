"""Streams: what a service has heard when it says that it is ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from libs.common import ids, parts
from libs.common.contracts.base import Message, Topic
from libs.common.messaging import streams
from libs.common.messaging.streams import StreamReader
from libs.common.runtime import Runtime
from libs.common.service import Memory, Service, Start, Store, stream
from libs.common.testing.apps import opened


class Said(Message):
    name: str
    number: int


class Heard(Memory):
    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.may_hear = asyncio.Event()


async def hear(said: Sequence[Said], memory: Heard) -> None:
    await memory.may_hear.wait()
    memory.numbers += [each.number for each in said]


Listener = Runtime[Store, Heard]


def listener(topic: Topic, start: Start) -> Service[Store, Heard]:
    streams = [stream(topic, Said, hear, start)]
    return Service(name="marketdata", store=Store, memory=Heard, streams=streams, produces=[topic])


@pytest.fixture
async def topic(real_servers: None) -> AsyncIterator[Topic]:
    made = Topic(f"streams{ids.new_id().hex[-12:]}", Said, key="name", partitions=2, retention=timedelta(hours=1))
    async with opened(listener(made, Start.LATEST)) as runtime:
        admin = AdminClient({"bootstrap.servers": runtime.settings.kafka_bootstrap})
        await asyncio.to_thread(admin.create_topics([NewTopic(made.name, 2, 1)])[made.name].result)
        yield made
        await asyncio.to_thread(admin.delete_topics([made.name])[made.name].result)


@contextlib.asynccontextmanager
async def listening(runtime: Listener) -> AsyncIterator[StreamReader]:
    reader = StreamReader(runtime)
    running = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        runtime.memory.may_hear.set()
        await reader.stop()
        running.cancel()
        await asyncio.wait([running])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_who_is_ready_has_heard_what_was_said_before_it_began(topic: Topic) -> None:
    """`make up` said that all was ready while the gateway knew no price."""
    async with opened(listener(topic, Start.RECENT)) as runtime:
        for number in range(50):
            await runtime.send(Said(name=f"n{number}", number=number))
        async with listening(runtime) as reader:
            await reader.caught_up.wait()  # for streams that are read from their beginning: there are none
            await asyncio.sleep(1.5)
            assert not runtime.ready["streams"]
            runtime.memory.may_hear.set()
            await until(lambda: runtime.ready["streams"])
            assert sorted(runtime.memory.numbers) == list(range(50))


@pytest.mark.parametrize("start", Start)
async def test_who_listens_to_a_silent_topic_is_ready_and_hears_the_first_word(topic: Topic, start: Start) -> None:
    async with opened(listener(topic, start)) as runtime, listening(runtime):
        runtime.memory.may_hear.set()
        await until(lambda: runtime.ready["streams"])
        await runtime.send(Said(name="first", number=1))
        await until(lambda: runtime.memory.numbers == [1])


@pytest.mark.parametrize("start", Start)
async def test_who_listens_hears_what_is_said_in_partitions_that_its_topic_is_given_later(
    topic: Topic, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was deaf to them until it was started anew: a gateway did not show a part of what happened."""
    monkeypatch.setattr(streams, "PARTITIONS_EVERY_S", 0.5)
    async with opened(listener(topic, start)) as runtime, listening(runtime):
        runtime.memory.may_hear.set()
        await until(lambda: runtime.ready["streams"])
        admin = AdminClient({"bootstrap.servers": runtime.settings.kafka_bootstrap})
        await asyncio.to_thread(admin.create_partitions([NewPartitions(topic.name, 6)])[topic.name].result)
        async with asyncio.timeout(10):
            while len(await runtime.producer.partitions_for(topic.name)) < 6:
                await runtime.producer.client.force_metadata_update()
        for number in range(50):
            await runtime.send(Said(name=f"n{number}", number=number))
        await until(lambda: sorted(runtime.memory.numbers) == list(range(50)))


async def test_openalgo_1404_who_is_stuck_over_what_it_heard_is_not_ready(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "STUCK_SECONDS", 0.5)
    async with opened(listener(topic, Start.LATEST)) as runtime, listening(runtime):
        runtime.memory.may_hear.set()
        await until(lambda: runtime.ready["streams"])
        runtime.memory.may_hear.clear()
        await runtime.send(Said(name="first", number=1))
        await until(lambda: not runtime.ready["streams"])
        runtime.memory.may_hear.set()
        await until(lambda: runtime.ready["streams"])
        assert runtime.memory.numbers == [1]
