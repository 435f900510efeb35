"""A record from Kafka on its way to a handler: ours or foreign, decoded or with the reason why it cannot be."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Message as Received

from libs.common.contracts.base import Delivery, Message
from libs.common.messaging.envelope import decode, headers_of, read_envelope, type_of
from libs.common.messaging.errors import Undecodable
from libs.common.messaging.inbox import Partition
from libs.common.messaging.parked import LONGEST_KEY, Arrival, Parked, storable
from libs.common.service import Service

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One record of a batch: decoded, or with the reason why it cannot be."""

    arrival: Arrival
    delivery: Delivery | None
    fault: str | None

    @property
    def partition(self) -> Partition:
        return self.arrival.topic, self.arrival.partition

    @property
    def place(self) -> Place:
        return *self.partition, self.arrival.offset

    @property
    def next_offset(self) -> int:
        return self.arrival.offset + 1


class Consumed:
    """The messages that a service consumes."""

    def __init__(self, service: Service[Any, Any]) -> None:
        self._types = {(s.topic.name, s.message.__name__): s.message for s in service.consumes}
        self._patience = {(s.topic.name, s.message.__name__): s.patience for s in service.consumes}
        self.topics = sorted({s.topic for s in service.consumes}, key=lambda topic: topic.name)

    def read(self, received: Received) -> Inbound | None:
        """Decode a record of ours; None for a type that we do not consume."""
        topic, headers = received.topic() or "", headers_of(received)
        name = type_of(headers)
        message = self._types.get((topic, name))
        if message is None and name:
            return None
        key = storable((received.key() or b"")[:LONGEST_KEY].decode(errors="replace"))
        place = received.partition() or 0, received.offset() or 0
        arrival = Arrival(topic, *place, key, name, headers, received.value() or b"")
        delivery, fault = _decode(message, arrival)
        return Inbound(arrival, delivery, fault)

    def redeliver(self, found: Parked) -> Delivery:
        """A parked message, for its handler; Undecodable if it still does not fit its contract."""
        arrival = Arrival(found.topic, found.partition, found.offset, found.key, found.type, found.headers, found.value)
        delivery, fault = _decode(self._types.get((found.topic, found.type)), arrival)
        if delivery is None:
            raise Undecodable(fault or "unknown type")
        return delivery

    def patience(self, came: Collection[Inbound]) -> float:
        """How long these may wait for company, in seconds: as long as the most urgent of them."""
        return min(self._patience.get((i.arrival.topic, i.arrival.type), 0.0) for i in came)


def _decode(message: type[Message] | None, arrival: Arrival) -> tuple[Delivery | None, str | None]:
    try:
        if message is None:
            raise Undecodable(f"no ce_type that {arrival.topic} carries: {arrival.type!r}")
        envelope = read_envelope(arrival.headers, arrival.key.encode())
        return Delivery(decode(message, arrival.value), envelope), None
    except Undecodable as error:
        return None, str(error)
