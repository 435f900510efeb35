"""CloudEvents 1.0 in Kafka's binary mode: attributes as headers, the JSON model as value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from confluent_kafka import Message as Received
from pydantic import ValidationError

from libs.common.contracts.base import Envelope, Message, Topic
from libs.common.messaging.errors import MessageTooLarge, Undecodable

Headers = Sequence[tuple[str, bytes]]

LARGEST = 1_000_000
"""Bytes of a message's JSON: with its headers less than the 1,048,576 that Kafka's producers and brokers take."""
_FIXED = [("ce_specversion", b"1.0"), ("content-type", b"application/json")]


@dataclass(frozen=True, slots=True)
class Record:
    """A message ready for the wire."""

    topic: str
    envelope: Envelope
    value: bytes

    @property
    def key(self) -> bytes:
        return self.envelope.key.encode()

    def headers(self) -> Headers:
        e = self.envelope
        headers = [
            *_FIXED,
            ("ce_id", str(e.id).encode()),
            ("ce_type", e.type.encode()),
            ("ce_source", e.source.encode()),
            ("ce_time", e.time.isoformat().encode()),
            ("ce_subject", e.key.encode()),
            ("ce_correlationid", str(e.correlation_id).encode()),
        ]
        if e.user_id:
            headers.append(("ce_userid", str(e.user_id).encode()))
        if e.traceparent:
            headers.append(("traceparent", e.traceparent.encode()))
        return headers


def record(topic: Topic, message: Message, envelope: Envelope) -> Record:
    """The message for the wire; MessageTooLarge instead of one that would stand first in an outbox for ever."""
    value = message.__pydantic_serializer__.to_json(message)
    if len(value) > LARGEST:
        raise MessageTooLarge(f"{envelope.type} {envelope.id} has {len(value)} bytes: at most {LARGEST} can be sent")
    return Record(topic.name, envelope, value)


def headers_of(received: Received) -> Headers:
    """The headers of a record as librdkafka has it, without those that have no value."""
    headers = cast("Sequence[tuple[str, bytes | None]]", received.headers() or ())
    return [(name, value) for name, value in headers if value is not None]


def type_of(headers: Iterable[tuple[str, bytes]]) -> str:
    """The message's type, by header alone, so that a foreign message is skipped without decoding it; "" if it has none
    that is text.
    """
    for name, value in headers:
        if name == "ce_type":
            try:
                return value.decode()
            except UnicodeDecodeError:
                return ""
    return ""


def read_envelope(headers: Iterable[tuple[str, bytes]], key: bytes | None) -> Envelope:
    """The envelope of a record; Undecodable names the attribute that is missing or malformed."""
    found = dict(headers)
    try:
        user = found.get("ce_userid")
        parent = found.get("traceparent")
        message_id = UUID(found["ce_id"].decode())
        correlation = found.get("ce_correlationid")
        return Envelope(
            id=message_id,
            type=found["ce_type"].decode(),
            source=found["ce_source"].decode(),
            time=moment_of(found["ce_time"]),
            key=(key or b"").decode(),
            correlation_id=UUID(correlation.decode()) if correlation else message_id,
            user_id=UUID(user.decode()) if user else None,
            traceparent=parent.decode() if parent else None,
        )
    except (KeyError, ValueError) as error:
        raise Undecodable(f"envelope: {error!r}") from error


def moment_of(ce_time: bytes) -> datetime:
    """ValueError where it is none, or names no zone: that would be another moment on every machine."""
    moment = datetime.fromisoformat(ce_time.decode())
    if moment.tzinfo is None:
        raise ValueError(f"ce_time {moment} has no zone")
    return moment


def decode(message: type[Message], value: bytes | None) -> Message:
    try:
        decoded: Message = message.__pydantic_validator__.validate_json(value or b"")
        return decoded
    except ValidationError as error:
        raise Undecodable(f"{message.__name__}: {error}") from error
