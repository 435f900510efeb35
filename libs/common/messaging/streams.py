"""Streams: every instance reads every partition, without a group, into memory; some only while it stands by."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import Message as Received

from libs.common.contracts.base import Message
from libs.common.messaging.envelope import decode, headers_of, type_of
from libs.common.messaging.errors import MessagingUnavailable, Undecodable
from libs.common.messaging.inbox import Partition
from libs.common.messaging.reader import PARTITIONS_EVERY_S, Reader
from libs.common.messaging.waiting import PASSING, until_there
from libs.common.parts import Part
from libs.common.runtime import Runtime
from libs.common.service import Start, Stream
from libs.common.telemetry import log

_RECENT_MS = 15_000
_MAX_RECORDS = 2_000
_POLL_S = 0.2
_LAST_SECONDS = 1.0
"""How long the last look of a standby may take: nobody leads meanwhile."""


class StreamReader:
    """Feeds the service's stream handlers by the batch. A message that cannot be decoded is logged and passed over."""

    def __init__(self, runtime: Runtime[Any, Any], streams: Sequence[Stream[Any]] | None = None) -> None:
        """The service's `streams`, which its readiness waits for; or these instead."""
        self._runtime = runtime
        read = runtime.service.streams if streams is None else streams
        self._part = Part(runtime, "streams", asked_for=bool(read) and streams is None)
        self._by_type: dict[tuple[str, str], Stream[Any]] = {(s.topic.name, s.message.__name__): s for s in read}
        self._starts = {s.topic.name: s.start for s in read}
        settings = runtime.settings
        name = f"{runtime.service.name}-{settings.instance_id}-streams"
        self._reader = Reader(settings, name, tell_ends=Start.BEGINNING in self._starts.values())
        self._next: dict[Partition, int] = {}
        """What comes next of each partition."""
        self._behind: dict[Partition, int] = {}
        """Where those partitions ended when we began that have to be read until there before anything else begins."""
        self._unread: dict[Partition, int] = {}
        """The same of all partitions, before we are ready."""
        self.caught_up = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        await until_there("kafka", self._begin, self._runtime.stopping)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_topics(), name="topics")
            while not self._stopping:
                self._check_caught_up()
                self._check_ready()
                await self._deliver(await self._reader.read(_MAX_RECORDS, _POLL_S))
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self._stopping = True
        await self._reader.close()

    async def read_to_the_end(self, seconds: float) -> None:
        """What is there now, after `run` was cancelled; at most so long."""
        with contextlib.suppress(TimeoutError, KafkaException):
            async with asyncio.timeout(seconds):
                for partition, end in (await self._reader.ends(self._next)).items():
                    while self._next[partition] < end:
                        await self._deliver(await self._reader.read(_MAX_RECORDS, _POLL_S))

    async def _begin(self) -> None:
        """Begin each partition where its stream says it starts; without a group all are ours."""
        found = await self._reader.partitions(self._starts.keys())
        if missing := self._starts.keys() - found.keys():
            raise MessagingUnavailable(f"Kafka has no topic {', '.join(sorted(missing))} yet")
        partitions = [(topic, number) for topic, numbers in found.items() for number in numbers]
        recent = int(self._runtime.clock.now().timestamp() * 1000) - _RECENT_MS
        ends = await self._reader.ends(partitions)
        since = await self._reader.since(self._whose(partitions, Start.RECENT), recent)
        self._behind = {partition: ends[partition] for partition in self._whose(partitions, Start.BEGINNING)}
        beginnings = dict.fromkeys(self._behind, 0)  # where a partition has lost its first, Kafka has us begin later
        self._next = ends | beginnings | {partition: at for partition, at in since.items() if at is not None}
        self._unread = dict(ends)
        self._reader.begin(self._next)

    async def _follow_topics(self) -> None:
        """Begin the partitions that topics are given meanwhile, at their beginning: all of it is newer than we are."""
        while True:
            await asyncio.sleep(PARTITIONS_EVERY_S)
            try:
                found = await self._reader.partitions(self._starts.keys())
            except PASSING as error:
                log.warning("partitions_not_asked", error=repr(error))
                continue
            places = {(topic, number) for topic, numbers in found.items() for number in numbers}
            new = dict.fromkeys(places - self._next.keys(), 0)
            if new and not self._stopping:
                self._next |= new
                self._reader.begin(new)
                log.info("partitions_added", partitions=sorted(new))

    def _whose(self, partitions: Sequence[Partition], start: Start) -> list[Partition]:
        return [partition for partition in partitions if self._starts[partition[0]] is start]

    def _check_caught_up(self) -> None:
        """Compaction leaves gaps, at the very end too: a partition is read when its end was met."""
        if self.caught_up.is_set():
            return
        for partition, end in list(self._behind.items()):
            if self._next[partition] >= end or partition in self._reader.at_end:
                del self._behind[partition]
        if not self._behind:
            self.caught_up.set()

    def _check_ready(self) -> None:
        """Who is ready has heard what was there when it began, and hears: something was fetched of every partition."""
        if not self._unread:
            return
        for partition, end in list(self._unread.items()):
            position = self._next[partition]
            is_read = position >= end and self._reader.lag(partition, position) is not None
            if is_read or partition in self._reader.at_end:
                del self._unread[partition]
        if not self._unread:
            self._part.works()

    async def _deliver(self, records: Sequence[Received]) -> None:
        grouped: dict[tuple[str, str], list[Message]] = defaultdict(list)
        for record in records:
            topic, offset = record.topic() or "", record.offset() or 0
            self._next[topic, record.partition() or 0] = offset + 1
            key = (topic, type_of(headers_of(record)))
            stream = self._by_type.get(key)
            if stream is None:
                continue
            try:
                grouped[key].append(decode(stream.message, record.value()))
            except Undecodable as error:
                log.error("stream_message_undecodable", topic=topic, offset=offset, error=str(error))
        for key, messages in grouped.items():
            stream = self._by_type[key]
            if stream.prompt:
                self._reader.hurry()
            with self._part.busy():
                await stream.handler(messages, self._runtime.memory)


async def follow(runtime: Runtime[Any, Any]) -> None:
    """What a standby reads, until it is cancelled: it then reads what is there, since it may be about to lead."""
    reader = StreamReader(runtime, runtime.service.follows)
    try:
        await reader.run()
    finally:
        try:
            if not runtime.stopping.is_set():
                await reader.read_to_the_end(_LAST_SECONDS)
        finally:
            await reader.stop()
