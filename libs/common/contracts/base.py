"""The two kinds of message, the topics that carry them and the envelopes that they travel in.

A request may be refused; an event already happened.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A part of a message. Unknown fields are ignored, so that a newer writer can add one."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Value):
    """Anything that travels on a topic."""


class Request(Message):
    """A wish that exactly one service answers, named …Requested: OrderRequested."""


class Event(Message):
    """A fact, named in the past tense: OrderCleared, FillReported."""


class RequestRefused(Event):
    """The owner of an entity refused a request to change it; nothing was changed.

    `code` is a stable word for programs (`not_found`, `conflict`, `invalid`), `reason` a sentence for people.
    """

    entity_id: str
    request: str
    code: str
    reason: str


GIVEN_UP = "it could not be handled here, and an operator gave it up"
"""The reason that is told where a person discarded a message; `given_up` is the code of a request's refusal."""


class Topic:
    """A Kafka topic: what it carries, the message field that keys it, and how long it keeps.

    A compacted topic keeps the newest message of each key for ever; else `retention` bounds it.
    """

    def __init__(
        self,
        name: str,
        *carries: type[Message],
        key: str,
        partitions: int = 6,
        retention: timedelta | None = None,
        compacted: bool = False,
    ) -> None:
        self.name = name
        self.carries = carries
        self.key = key
        self.partitions = partitions
        self.retention = retention
        self.compacted = compacted

    def key_of(self, message: Message) -> str:
        return str(getattr(message, self.key))

    def __repr__(self) -> str:
        return f"Topic({self.name})"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message's CloudEvents attributes. `correlation_id` is the id of the message that began the story."""

    id: UUID
    type: str
    source: str
    time: datetime
    key: str
    correlation_id: UUID
    user_id: UUID | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message with its envelope, as it came from a topic."""

    message: Message
    envelope: Envelope
