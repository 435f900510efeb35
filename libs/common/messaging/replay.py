"""The log handled again, off line: state without a consumer, under the clock of the messages themselves."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from libs.common.clock import FixedClock
from libs.common.contracts.base import Delivery, Message
from libs.common.database import Connection
from libs.common.messaging import inbox
from libs.common.messaging.envelope import Record, decode, read_envelope, type_of
from libs.common.messaging.errors import Undecodable
from libs.common.messaging.inbox import Partition
from libs.common.messaging.log import Logged
from libs.common.messaging.work import Work
from libs.common.service import Memory, Service

BATCH = 500
_REPEATS_WITHIN = 200_000
"""How many messages back a second copy is recognised; copies come seconds apart, after a crash."""

_REMEMBER = """
    INSERT INTO message_inbox (message_id, received_at) SELECT * FROM unnest($1::uuid[], $2::timestamptz[])
    ON CONFLICT DO NOTHING
"""
_PLAN = """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false)
"""
"""As a batch of a service has it (transactions.py), for the session: it is the command's own and ends with it."""


class ReplayFailed(Exception):
    """A message could not be handled; says which, and why."""


@dataclass(slots=True)
class Replayed:
    """What a replay did."""

    handled: int = 0
    skipped: int = 0


class _Work(Work[Any, Any]):
    """Each message is handled at the moment when it was said."""

    async def _handle_one(self, delivery: Delivery) -> None:
        self.now = delivery.envelope.time
        await super()._handle_one(delivery)


class Replay:
    """Handles records with a service's handlers, in transactions of the caller's.

    `said` gets what the handlers say; nothing is published. `set_aside` are places that are not to be handled:
    what waits as parked, or was discarded. `clock` is moved along, for memory that asks for the time.
    `within` keeps a batch as short as a live one, which never holds the answer to what it says itself.
    `given_up` gets what cannot be handled, which is passed over then, as after a discard; without it the replay fails.
    """

    def __init__(
        self,
        service: Service[Any, Any],
        memory: Memory,
        *,
        said: Callable[[Sequence[Record]], None],
        set_aside: frozenset[tuple[str, int, int]] = frozenset(),
        clock: FixedClock | None = None,
        batch: int = BATCH,
        within: timedelta | None = None,
        given_up: Callable[[ReplayFailed], None] | None = None,
    ) -> None:
        self._service = service
        self._memory = memory
        self._said = said
        self._set_aside = set_aside
        self._clock = clock
        self._size = batch
        self._within = within
        self._given_up = given_up
        self._types = {(s.topic.name, s.message.__name__): s.message for s in service.consumes}
        self._streams = {(s.topic.name, s.message.__name__): s for s in service.streams}
        self._known: set[UUID] = set()
        self._in_order: deque[UUID] = deque()
        self._batch: list[tuple[Logged, Delivery]] = []
        self.done = Replayed()

    @property
    def topics(self) -> set[str]:
        return {topic for topic, _ in (*self._types, *self._streams)}

    async def run(self, records: AsyncIterator[Logged], connection: Connection) -> Replayed:
        """Handle all of them; state, and the ids of what was handled within the inbox's days, stay in `connection`."""
        await connection.execute(_PLAN)
        async for record in records:
            await self._take(record, connection)
            if len(self._batch) >= self._size:
                await self._flush(connection)
        await self._flush(connection)
        return self.done

    async def _take(self, record: Logged, connection: Connection) -> None:
        if self._clock:
            self._clock.at = max(self._clock.at, record.said_at)
        place = (record.topic, type_of(record.headers))
        if place in self._streams:
            await self._flush(connection)
            streamed = self._streams[place]
            await streamed.handler([decode(streamed.message, record.value)], self._memory)
        message = self._types.get(place)
        if message is None:
            return
        if (record.topic, record.partition, record.offset) in self._set_aside:
            self.done.skipped += 1
            return
        delivery = self._read(record, message)
        if delivery is None or not self._is_new(delivery.envelope.id):
            return
        if self._batch and self._within and record.said_at - self._batch[0][0].said_at > self._within:
            await self._flush(connection)
        self._batch.append((record, delivery))

    def _read(self, record: Logged, message: type[Message]) -> Delivery | None:
        try:
            return Delivery(decode(message, record.value), read_envelope(record.headers, record.key))
        except Undecodable as error:
            if self._given_up is None:
                raise _failed(record, error) from error
            self._given_up(_failed(record, error))
            return None

    def _is_new(self, message_id: UUID) -> bool:
        if message_id in self._known:
            return False
        self._known.add(message_id)
        self._in_order.append(message_id)
        if len(self._in_order) > _REPEATS_WITHIN:
            self._known.discard(self._in_order.popleft())
        return True

    async def _flush(self, connection: Connection) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            async with connection.transaction():
                said = await self._handle([delivery for _, delivery in batch], connection)
        except Exception as error:
            if len(batch) == 1:
                if self._given_up is None:
                    raise _failed(batch[0][0], error) from error
                self._given_up(_failed(batch[0][0], error))
                return
            for each in batch:
                self._batch = [each]
                await self._flush(connection)
            return
        self._said(said)
        self.done.handled += len(batch)
        envelopes = [delivery.envelope for _, delivery in batch]
        await connection.execute(_REMEMBER, [e.id for e in envelopes], [e.time for e in envelopes])

    async def _handle(self, deliveries: Sequence[Delivery], connection: Connection) -> list[Record]:
        work = _Work(self._service, self._memory, connection, deliveries[0].envelope.time)
        await work.store.lock_for([delivery.message for delivery in deliveries])
        await work.handle(deliveries)
        await work.store.write()
        return work.records


async def forget_old_ids(connection: Connection) -> None:
    """The inbox keeps ids for some days, counted from the newest."""
    newest = await connection.fetchval("SELECT max(received_at) FROM message_inbox")
    if newest:
        await inbox.forget_before(connection, newest - inbox.KEPT)


async def move_offsets(connection: Connection, ends: dict[Partition, int]) -> None:
    """The consumer goes on where the replay ended."""
    await connection.execute(
        """
        INSERT INTO message_offsets (topic, partition, next_offset)
        SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
        ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
        """,
        [topic for topic, _ in ends],
        [partition for _, partition in ends],
        list(ends.values()),
    )


async def places_set_aside(connection: Connection) -> frozenset[tuple[str, int, int]]:
    """What waits as parked, and what a person gave up."""
    rows = await connection.fetch(
        """
        SELECT topic, partition, message_offset FROM message_parked
        UNION SELECT topic, partition, message_offset FROM message_discarded
        """
    )
    return frozenset((row[0], row[1], row[2]) for row in rows)


def _failed(record: Logged, error: Exception) -> ReplayFailed:
    return ReplayFailed(f"{record.topic}/{record.partition}@{record.offset}: {error}")
