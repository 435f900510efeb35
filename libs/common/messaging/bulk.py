"""Where volume rules: librdkafka publishes ticks, quotes and candles, buffered."""

import asyncio
from typing import Any

from confluent_kafka import Producer

from libs.common import ids
from libs.common.clock import Clock
from libs.common.contracts.base import Message
from libs.common.service import Service
from libs.common.telemetry import log

_FLUSH_SECONDS = 5.0


class BulkPublisher:
    """Publishes without waiting. A full buffer drops the message and counts it: the next tick replaces it."""

    def __init__(self, service: Service[Any, Any], bootstrap: str, clock: Clock) -> None:
        self._service = service
        self._bootstrap = bootstrap
        self._clock = clock
        self._source = f"/services/{service.name}".encode()
        self._producer: Producer | None = None
        self.dropped = 0

    def publish(self, message: Message) -> None:
        producer = self._producer or self._start()
        topic = self._service.topic_of(type(message))
        key = topic.key_of(message).encode()
        headers: list[tuple[str, str | bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(ids.new_id())),
            ("ce_type", type(message).__name__),
            ("ce_source", self._source),
            ("ce_time", self._clock.now().isoformat()),
            ("ce_subject", key),
        ]
        try:
            producer.produce(topic.name, message.__pydantic_serializer__.to_json(message), key, headers=headers)
        except BufferError:
            self.dropped += 1
            if self.dropped % 1000 == 1:
                log.warning("bulk_buffer_full", dropped=self.dropped)
        producer.poll(0)

    def flushed(self, seconds: float) -> bool:
        """Whether Kafka has everything published until now, waiting at most `seconds` for it. Blocking.

        For what must not be lost: a publisher of its own, whose reader begins again when this is False.
        """
        return self.dropped == 0 and (self._producer is None or self._producer.flush(seconds) == 0)

    async def close(self) -> None:
        if self._producer:
            await asyncio.to_thread(self._producer.flush, _FLUSH_SECONDS)

    def _start(self) -> Producer:
        self._producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "acks": "all",
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
            }
        )
        return self._producer
