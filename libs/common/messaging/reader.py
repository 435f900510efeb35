"""Kafka's reading side for services: librdkafka fetches ahead in its own threads, the event loop takes what has come.

Fetching in Python cost five times the CPU, and let what came after a fetch wait for the next one
(docs/decisions/0017-reader.md). There is no consumer group: who reads what is told by leases, or each reads all.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from libs.common.clock import stopwatch
from libs.common.messaging.inbox import Partition
from libs.common.telemetry import log

P = ParamSpec("P")
T = TypeVar("T")

_ANSWER_S = 5.0
_LATEST, _EARLIEST = -1, -2
"""What Kafka's ListOffsets takes in the place of a moment."""
_LIVELY_S, _LOOK_EVERY_S = 0.1, 0.004
"""So long after a message the loop looks by itself, so often; only then does the thread wait. A thread that wakes up
waits for the interpreter, which a busy loop keeps for milliseconds (at 200 orders/s: p95 79 ms instead of 49).
"""
_TELL_EVERY_S = 5.0
_AHEAD = 2_000
"""Messages fetched ahead of each partition."""
_AHEAD_KILOBYTES = 16_384


class Reader:
    """Reads the partitions that were begun. A method that asks Kafka raises KafkaException while it is away."""

    def __init__(self, bootstrap: str, name: str, *, tell_ends: bool = False) -> None:
        self.at_end: set[Partition] = set()
        """Where everything was read at some time; kept only if `tell_ends`."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-reader")
        self._closed = False
        self._lively_until = 0.0
        self._quiet_until = 0.0
        self._waiting: asyncio.Future[list[Message]] | None = None
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
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
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "topic.metadata.refresh.interval.ms": 60_000,
                "error_cb": self._note_error,
                "log_level": 0,
            }
        )

    async def partitions(self, topics: Collection[str]) -> dict[str, list[int]]:
        """The partitions of each topic that exists."""
        found = await self._ask(self._consumer.list_topics, timeout=_ANSWER_S)
        return {name: sorted(topic.partitions) for name, topic in found.topics.items() if name in topics}

    async def begins(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where the first message that is kept of each is, or will be."""
        return {partition: at or 0 for partition, at in (await self.since(partitions, _EARLIEST)).items()}

    async def ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Where the next message of each will be."""
        return {partition: at or 0 for partition, at in (await self.since(partitions, _LATEST)).items()}

    async def since(self, partitions: Collection[Partition], moment_ms: int) -> dict[Partition, int | None]:
        """The first message of each at or after a moment (milliseconds since 1970); None where there is none."""
        if not partitions:
            return {}
        asked = [TopicPartition(*partition, moment_ms) for partition in partitions]
        found = await self._ask(self._consumer.offsets_for_times, asked, timeout=_ANSWER_S)
        for each in found:
            if each.error:
                raise KafkaException(each.error)
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in found}

    def begin(self, places: Mapping[Partition, int]) -> None:
        """Read these partitions too, from these offsets; the others are not disturbed."""
        if places:
            self._consumer.incremental_assign([TopicPartition(*each, offset) for each, offset in places.items()])

    def end(self, partitions: Collection[Partition]) -> None:
        """Read these no more. What was fetched of them may still come out of a `read` that is under way."""
        if partitions:
            self._consumer.incremental_unassign([TopicPartition(*partition) for partition in partitions])

    async def read(self, most: int, seconds: float) -> Sequence[Message]:
        """What has come, at most so many, each partition's in order; waits about so long for the first.

        Loses nothing when it is cancelled: the next `read` has what this one would have had.
        """
        if self._closed:
            return ()
        loop = asyncio.get_running_loop()
        messages = await self._waited() or self._consumer.consume(most, 0)
        until = min(loop.time() + seconds, self._lively_until)
        while not messages and loop.time() < until:
            await asyncio.sleep(_LOOK_EVERY_S)
            messages = [] if self._closed else self._consumer.consume(most, 0)
        if not messages and seconds > 0 and not self._closed:
            self._waiting = loop.run_in_executor(self._thread, self._wait, most, seconds)
            messages = await self._waited()
        if messages:
            self._lively_until = loop.time() + _LIVELY_S
        return [message for message in messages if message.error() is None or self._note(message)]

    def lag(self, partition: Partition, position: int) -> int | None:
        """How many messages lie between the position and the end, as of the last fetch; None before the first."""
        _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return end - position if end >= 0 else None

    async def close(self) -> None:
        """Waits for a `read` that is under way."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._consumer.close)
            self._thread.shutdown(wait=False)

    async def _ask(self, question: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        """In the same thread as all that waits: librdkafka's consumer must not be closed beneath a question."""
        if self._closed:
            raise ConnectionError("the reader is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(question, *arguments, **more))

    async def _waited(self) -> list[Message]:
        """What the thread that waits has got, if one does."""
        if self._waiting is None:
            return []
        messages = await asyncio.shield(self._waiting)
        self._waiting = None
        return messages

    def _wait(self, most: int, seconds: float) -> list[Message]:
        first = self._consumer.poll(seconds)
        return [] if first is None else [first, *self._consumer.consume(most - 1, 0)]

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
