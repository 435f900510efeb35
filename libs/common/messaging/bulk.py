"""Where volume rules: librdkafka publishes ticks, quotes and candles, buffered."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Produced

from libs.common import ids
from libs.common.clock import Clock
from libs.common.contracts.base import Message, Topic
from libs.common.messaging.librdkafka import connecting
from libs.common.service import Service
from libs.common.settings import KafkaSettings
from libs.common.telemetry import log

_FLUSH_SECONDS = 5.0
_POLL_EVERY = 64
"""Messages. Each poll lets go of the interpreter, and a busy thread beside may keep it for milliseconds."""
_SAME_TIME = timedelta(milliseconds=1)


class BulkPublisher:
    """Publishes without waiting. A full buffer drops the message and counts it: the next tick replaces it."""

    def __init__(self, service: Service[Any, Any], kafka: KafkaSettings, clock: Clock) -> None:
        self._service = service
        self._kafka = kafka
        self._clock = clock
        self._source = f"/services/{service.name}".encode()
        self._producer: Producer | None = None
        self._types: dict[type[Message], tuple[Topic, bytes]] = {}
        self._time = b""
        self._time_of: datetime | None = None
        self._unpolled = 0
        self.dropped = 0

    def start(self) -> Producer:
        """Connect, if that is not done yet: what is published first would wait half a second for it."""
        if self._producer is None:
            self._producer = self._connected()
        return self._producer

    def publish(self, message: Message, kept: Callable[[], None] | None = None) -> None:
        """`kept` is called once Kafka has the message, within a later `publish` or `serve`."""
        producer = self._producer or self.start()
        known = self._types.get(type(message))
        if known is None:
            known = self._service.topic_of(type(message)), type(message).__name__.encode()
            self._types[type(message)] = known
        topic, name = known
        key = topic.key_of(message).encode()
        headers: list[tuple[str, str | bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", ids.new_text()),
            ("ce_type", name),
            ("ce_source", self._source),
            ("ce_time", self._now()),
            ("ce_subject", key),
        ]
        told = None if kept is None else _once_delivered(kept)
        value = message.__pydantic_serializer__.to_json(message)
        try:
            producer.produce(topic.name, value, key, headers=headers, on_delivery=told)
        except BufferError:
            self.dropped += 1
            if self.dropped % 1000 == 1:
                log.warning("bulk_buffer_full", dropped=self.dropped)
            self._unpolled = _POLL_EVERY
        self._unpolled += 1
        if self._unpolled >= _POLL_EVERY:
            self._unpolled = 0
            producer.poll(0)

    def serve(self) -> None:
        """Tell now whoever waits to hear that a message is kept."""
        if self._producer:
            self._producer.poll(0)

    def _now(self) -> bytes:
        """To the millisecond: hundreds share it in a busy market."""
        now, before = self._clock.now(), self._time_of
        if before is None or not before <= now < before + _SAME_TIME:
            self._time_of, self._time = now, now.isoformat().encode()
        return self._time

    def flushed(self, seconds: float) -> bool:
        """Whether Kafka has everything published until now, waiting at most `seconds` for it. Blocking.

        For what must not be lost: a publisher of its own, whose reader begins again when this is False.
        """
        return self.dropped == 0 and (self._producer is None or self._producer.flush(seconds) == 0)

    async def flush(self, seconds: float) -> None:
        """Wait until Kafka has what was published until now, at most so long."""
        if self._producer:
            await asyncio.to_thread(self._producer.flush, seconds)

    async def close(self) -> None:
        await self.flush(_FLUSH_SECONDS)

    def _connected(self) -> Producer:
        return Producer(
            {
                **connecting(self._kafka),
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "acks": "all",
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
            }
        )


def _once_delivered(kept: Callable[[], None]) -> Callable[[KafkaError | None, Produced], None]:
    def told(error: KafkaError | None, _: Produced) -> None:
        if error is None:
            kept()

    return told
