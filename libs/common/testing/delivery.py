"""Run one handler the way the runtime does, on a real store, without Kafka."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from libs.common import ids
from libs.common.contracts.base import Delivery, Envelope, Message
from libs.common.database import Connection
from libs.common.messaging.envelope import decode
from libs.common.messaging.work import Work
from libs.common.service import Memory, Service

NOON = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
"""12:00 IST on a Monday when the exchanges trade."""


def envelope_of(message: Message, *, now: datetime = NOON, message_id: UUID | None = None) -> Envelope:
    own = message_id or ids.new_id()
    return Envelope(
        id=own,
        type=type(message).__name__,
        source="/tests",
        time=now,
        key="",
        correlation_id=own,
        user_id=getattr(message, "user_id", None),
    )


async def deliver(
    service: Service[Any, Any],
    connection: Connection,
    *messages: Message,
    memory: Memory | None = None,
    now: datetime = NOON,
    cause: Envelope | None = None,
    given_up: bool = False,
) -> list[Message]:
    """Take the store's locks, prefetch, handle the messages as one batch, flush; what was said, in order.

    `cause` is the envelope of the first message; the others get fresh ones. `given_up`: a person discards them.
    """
    work = Work(service, memory or service.memory(), connection, now)
    await work.store.lock_for(messages)
    envelopes = [cause or envelope_of(messages[0], now=now), *(envelope_of(m, now=now) for m in messages[1:])]
    await (work.give_up if given_up else work.handle)(
        [Delivery(m, e) for m, e in zip(messages, envelopes, strict=True)]
    )
    await work.store.write()
    types = {message.__name__: message for message in service.topics}
    return [decode(types[record.envelope.type], record.value) for record in work.records]
