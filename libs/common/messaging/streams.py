"""Streams: every instance reads every partition, without a group, into memory; some only while it stands by."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from libs.common.contracts.base import Message
from libs.common.messaging.envelope import decode, type_of
from libs.common.messaging.errors import Undecodable
from libs.common.messaging.waiting import until_there
from libs.common.service import Start, Stream
from libs.common.telemetry import log

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

_RECENT_SECONDS = 15
_MAX_RECORDS = 2_000
_LAST_SECONDS = 1.0
"""How long the last look of a standby may take: nobody leads meanwhile."""


class StreamReader:
    """Feeds the service's stream handlers by the batch. A message that cannot be decoded is logged and passed over."""

    def __init__(self, runtime: "Runtime[Any, Any]", streams: Sequence[Stream[Any]] | None = None) -> None:
        """The service's `streams`, which its readiness waits for; or these instead."""
        self._runtime = runtime
        read = runtime.service.streams if streams is None else streams
        self._counts = bool(read) and streams is None
        self._by_type: dict[tuple[str, str], Stream[Any]] = {(s.topic.name, s.message.__name__): s for s in read}
        self._starts = {s.topic.name: s.start for s in read}
        self._consumer = AIOKafkaConsumer(
            *self._starts,
            bootstrap_servers=runtime.settings.kafka_bootstrap,
            client_id=f"{runtime.service.name}-{runtime.settings.instance_id}-streams",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=2_097_152,
            fetch_max_wait_ms=250,
        )
        self._behind: dict[TopicPartition, int] = {}
        self.caught_up = asyncio.Event()
        self._positioned = False
        self._stopping = False
        if self._counts:
            runtime.ready["streams"] = False

    async def run(self) -> None:
        await until_there("kafka", self._consumer.start, self._runtime.stopping)
        await until_there("kafka", self._position, self._runtime.stopping)
        self._positioned = True
        while not self._stopping:
            await self._check_caught_up()
            try:
                polled = await self._consumer.getmany(timeout_ms=200, max_records=_MAX_RECORDS)
            except ConsumerStoppedError:
                break
            except KafkaError as error:
                log.warning("stream_poll_failed", error=repr(error))
                await asyncio.sleep(0.5)
                continue
            await self._deliver([record for records in polled.values() for record in records])
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self._stopping = True
        await self._consumer.stop()

    async def read_to_the_end(self, seconds: float) -> None:
        """What is there now, after `run` was cancelled; at most so long."""
        if not self._positioned:
            return
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(seconds):
                ends = await self._consumer.end_offsets(list(self._consumer.assignment()))
                for partition, end in ends.items():
                    while await self._consumer.position(partition) < end:
                        polled = await self._consumer.getmany(timeout_ms=200, max_records=_MAX_RECORDS)
                        await self._deliver([record for records in polled.values() for record in records])

    async def _position(self) -> None:
        """Seek each partition to where its stream says it starts; without a group all are ours."""
        partitions = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(partitions)
        recent = int((self._runtime.clock.now().timestamp() - _RECENT_SECONDS) * 1000)
        offsets = await self._consumer.offsets_for_times(dict.fromkeys(partitions, recent))
        for partition in partitions:
            match self._starts[partition.topic]:
                case Start.BEGINNING:
                    await self._consumer.seek_to_beginning(partition)
                    self._behind[partition] = ends[partition]
                case Start.RECENT:
                    found = offsets[partition]
                    self._consumer.seek(partition, found.offset if found else ends[partition])
                case Start.LATEST:
                    self._consumer.seek(partition, ends[partition])

    async def _check_caught_up(self) -> None:
        if self.caught_up.is_set():
            return
        for partition, end in list(self._behind.items()):
            if await self._consumer.position(partition) >= end:
                del self._behind[partition]
        if not self._behind:
            self.caught_up.set()
            if self._counts:
                self._runtime.ready["streams"] = True

    async def _deliver(self, records: list[ConsumerRecord[bytes, bytes]]) -> None:
        grouped: dict[tuple[str, str], list[Message]] = defaultdict(list)
        for record in records:
            key = (record.topic, type_of(record.headers))
            stream = self._by_type.get(key)
            if stream is None:
                continue
            try:
                grouped[key].append(decode(stream.message, record.value))
            except Undecodable as error:
                log.error("stream_message_undecodable", topic=record.topic, offset=record.offset, error=str(error))
        for key, messages in grouped.items():
            await self._by_type[key].handler(messages, self._runtime.memory)


async def follow(runtime: "Runtime[Any, Any]") -> None:
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
