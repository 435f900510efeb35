"""One transaction of a service: run the handlers on one store, collect what they say, keep both together."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Generic
from uuid import UUID

from libs.common import ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Delivery, Envelope, Message
from libs.common.database import Connection
from libs.common.messaging import inbox
from libs.common.messaging.envelope import Record, record
from libs.common.messaging.inbox import Move
from libs.common.messaging.outbox_table import keep
from libs.common.service import Context, S, Service, V
from libs.common.telemetry import HANDLER_SECONDS, STAGE_SECONDS, continue_trace, trace

_handler_seconds = cache(HANDLER_SECONDS.labels)
_stage_seconds = cache(STAGE_SECONDS.labels)


class Work(Generic[S, V]):
    """The unit of work that the runtime opens around a batch, a timer or a route."""

    def __init__(self, service: Service[S, V], memory: V, connection: Connection, now: datetime) -> None:
        self.service = service
        self.store = service.store(connection)
        self.memory = memory
        self.now = now
        self.records: list[Record] = []
        self._said: dict[UUID, int] = {}

    async def enter(self, owner: int, moves: Collection[Move], came: Sequence[Delivery]) -> set[UUID]:
        """Through the fence, and to the locks; the ids of those that were not handled before. Raises Fenced."""
        ids, messages = [d.envelope.id for d in came], [d.message for d in came]
        return await inbox.enter(self.store, messages, owner, moves, ids, self.now)

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Prefetch and run each message's handler in order. What they said is in `records`."""
        await self.store.prefetch([d.message for d in deliveries])
        for delivery in deliveries:
            await self._handle_one(delivery)

    async def give_up(self, deliveries: Sequence[Delivery]) -> None:
        """In place of `handle` for what a person discarded: say what follows from its never being handled."""
        await self.store.prefetch([d.message for d in deliveries])
        for delivery in deliveries:
            given_up = self.service.subscription(type(delivery.message)).given_up
            if given_up is not None:
                self.say(await given_up(delivery.message, self.context(delivery.envelope)), delivery.envelope)

    async def keep(self, owner: int) -> list[int]:
        """Write the state and the outbox, in one round trip; the outbox numbers of `records`."""
        await self.store.flush()
        return await keep(self.store.writes, owner, self.records)

    async def _handle_one(self, delivery: Delivery) -> None:
        cause = delivery.envelope
        traceparent = continue_trace(cause.traceparent)
        trace.set(traceparent)
        handler = self.service.subscription(type(delivery.message)).handler
        began = stopwatch()
        said = await handler(delivery.message, self.context(cause))
        _handler_seconds(cause.type).observe(stopwatch() - began)
        self.say(said, cause, traceparent)

    def context(self, cause: Envelope) -> Context[S, V]:
        return Context(self.store, self.memory, self.now, cause)

    def say(self, messages: Sequence[Message], cause: Envelope, traceparent: str | None = None) -> None:
        """Add messages to what this transaction will publish; their ids follow from the cause and their place."""
        for message in messages:
            n = self._said.get(cause.id, 0)
            self._said[cause.id] = n + 1
            topic = self.service.topic_of(type(message))
            envelope = Envelope(
                id=ids.derive(cause.id, self.service.name, n),
                type=type(message).__name__,
                source=f"/services/{self.service.name}",
                time=self.now,
                key=topic.key_of(message),
                correlation_id=cause.correlation_id,
                user_id=cause.user_id or getattr(message, "user_id", None),
                traceparent=traceparent or cause.traceparent,
            )
            self.records.append(record(topic, message, envelope))
            age = self.now.timestamp() - ids.unix_time(cause.correlation_id)
            _stage_seconds(envelope.type).observe(max(age, 0.0))


def origin(
    service: Service[Any, Any], now: datetime, user_id: UUID | None = None, correlation_id: UUID | None = None
) -> Envelope:
    """The cause of what begins here: a timer's tick, a person's wish, an alert from outside."""
    own = ids.new_id()
    return Envelope(
        id=own,
        type="origin",
        source=f"/services/{service.name}",
        time=now,
        key="",
        correlation_id=correlation_id or own,
        user_id=user_id,
        traceparent=continue_trace(trace.get()),
    )
