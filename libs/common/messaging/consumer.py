"""The transactional consumer: micro-batches, each in one PostgreSQL transaction with its offsets, inbox and outbox."""

import asyncio
import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from libs.common.clock import stopwatch
from libs.common.contracts.base import Message
from libs.common.messaging import inbox, parked
from libs.common.messaging.envelope import decode, read_envelope, type_of
from libs.common.messaging.errors import Fenced, Undecodable
from libs.common.messaging.inbox import Move, Partition
from libs.common.messaging.leadership import LEAD
from libs.common.messaging.leases import Leases, Share
from libs.common.messaging.parked import Arrival, Parked
from libs.common.messaging.waiting import PASSING, until_there
from libs.common.messaging.work import Work
from libs.common.service import Delivery
from libs.common.telemetry import BATCH_SECONDS, BATCH_SIZE, CONSUMER_LAG, PARKED, log

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

MAX_BATCH = 500
POLL_MS = 200
PACE_MIN_S, PACE_MAX_S, PACE_FACTOR = 0.006, 0.025, 2.5
"""Batches begin this many times as far apart as the last one took, within these bounds. A lone message is handled at
once; under load each batch carries more, and the CPU that its fixed cost would take is left to the next stage
(measured: docs/decisions/0008-pace.md).
"""
LAST_LOOK_S = 0.003
"""So long before the next batch may begin, Kafka is asked what came; asked all the time it would tell it bit by bit."""
DRAIN_S = 5.0
"""How long we wait for Kafka to confirm what we said before a partition is handed over."""
INBOX_DAYS = 7


@dataclass(frozen=True, slots=True)
class Inbound:
    """One record of a batch: decoded, or with the reason why it cannot be."""

    arrival: Arrival
    next_offset: int
    delivery: Delivery | None
    fault: str | None

    @property
    def partition(self) -> Partition:
        return self.arrival.topic, self.arrival.partition


class Consumer:
    """Reads what the service consumes: the partitions that are leased to it, from the offsets that PostgreSQL holds."""

    def __init__(self, runtime: "Runtime[Any, Any]") -> None:
        self._runtime = runtime
        self._service = runtime.service
        self._types = {(s.topic.name, s.message.__name__): s.message for s in self._service.consumes}
        self._patience = {(s.topic.name, s.message.__name__): s.patience for s in self._service.consumes}
        self._held: list[Inbound] = []
        self._held_until = 0.0
        self._began = 0.0
        self._pace = PACE_MIN_S
        self._topics = sorted({s.topic for s in self._service.consumes}, key=lambda topic: topic.name)
        self._stored: dict[Partition, int] = {}
        self._seen: dict[Partition, int] = {}
        self._parked_keys: set[str] = set()
        self._numbers: set[int] = set()
        """The partitions that we read, of every topic; leased to us, and begun."""
        self._unsettled: set[int] = set()
        self._all: list[TopicPartition] = []
        self._busy = asyncio.Lock()
        self._stopping = False
        self._kafka = self._new_kafka()
        outbox, number = runtime.outbox, runtime.settings.instance_id
        self._leases = Leases(self._service.name, number, outbox.owner, outbox.session)
        if self._service.consumes:
            runtime.ready["consumer"] = False

    def _new_kafka(self) -> AIOKafkaConsumer:
        settings = self._runtime.settings
        return AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            client_id=f"{self._service.name}-{settings.instance_id}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=1_048_576,
            fetch_max_wait_ms=500,
            metadata_max_age_ms=60_000,
        )

    async def run(self) -> None:
        await until_there("kafka", self._kafka.start, self._runtime.stopping)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._runtime.lead.run(), name="lead")
            group.create_task(self._keep_leases(), name="leases")
            await self._consume()

    async def _consume(self) -> None:
        last_retry = last_cleaning = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping:
            try:
                await self._gather(loop.time)
            except ConsumerStoppedError:
                break
            async with self._busy:
                if self._is_due(loop.time()) and not self._stopping:
                    batch, self._held = self._held, []
                    self._began = loop.time()
                    await self._until_done(batch)
                    self._pace = pace_after(loop.time() - self._began)
                if self._parked_keys and loop.time() - last_retry > 1:
                    last_retry = loop.time()
                    await self._retry_parked()
            if loop.time() - last_cleaning > 3600:
                last_cleaning = loop.time()
                await self._forget_old_ids()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Finish the batch in hand, publish what it said, and leave our partitions to the others."""
        self._stopping = True
        async with self._busy:
            numbers = set(self._numbers)
            self._forget(numbers)
            await self._kafka.stop()
        await self._runtime.lead.resign()
        try:
            if await self._runtime.outbox.drained(DRAIN_S):
                await self._leases.leave(numbers)
        except PASSING as error:
            log.warning("leases_not_given_back", error=repr(error))

    async def _keep_leases(self) -> None:
        """Look, hand over what is too much, take what is free; again every second, and whenever there is news."""
        while not self._stopping:
            try:
                await self._follow_topics()
                now = await self._leases.look()
                await self._lose(self._numbers - now.mine)
                await self._begin(now.mine - now.give - self._numbers)
                await self._runtime.lead.settle(now, LEAD in self._numbers)
                if now.give:
                    await self._hand_over(now.give)
                elif now.take:
                    await self._take(now.take)
                self._mark_ready(now)
            except PASSING as error:
                log.warning("leases_wait", error=repr(error))
                await asyncio.sleep(0.3)
            await self._leases.news()
        await asyncio.Event().wait()

    async def _follow_topics(self) -> None:
        """Assign all partitions and pause those that are not ours: taking one then disturbs none of the others.

        Until Kafka has told how many a topic has, they are as declared.
        """
        known = {t.name: self._kafka.partitions_for_topic(t.name) or range(t.partitions) for t in self._topics}
        found = [TopicPartition(topic, number) for topic, numbers in known.items() for number in sorted(numbers)]
        if found == self._all:
            return
        await self._leases.know([(tp.topic, tp.partition) for tp in found])
        async with self._busy:
            self._forget(self._numbers)
            self._kafka.assign(found)
            for tp in found:
                self._kafka.seek(tp, 0)
            self._kafka.pause(*found)
            self._all = found

    async def _take(self, numbers: Collection[int]) -> None:
        """What the dead who held them have said goes out before we say anything newer."""
        self._unsettled |= await self._leases.take(numbers)
        self._leases.look_soon()

    async def _begin(self, numbers: Collection[int]) -> None:
        """Resume these partitions, which are leased to us, where PostgreSQL says."""
        if not numbers:
            return
        while self._unsettled:
            owner = min(self._unsettled)
            if not await self._runtime.outbox.settle(owner):
                self._leases.look_soon()
                return
            self._unsettled.discard(owner)
        async with self._busy, self._runtime.pool.acquire(timeout=5) as connection:
            stored = await inbox.stored_offsets(connection, self._leases.owner, numbers)
            self._parked_keys = await parked.keys(connection)
            self._stored |= stored
            self._seen |= stored
            ours = [TopicPartition(*partition) for partition in stored]
            for tp in ours:
                self._kafka.seek(tp, stored[tp.topic, tp.partition])
            self._kafka.resume(*ours)
            self._numbers |= set(numbers)
        PARKED.set(len(self._parked_keys))
        log.info("partitions_begun", numbers=sorted(numbers))

    async def _hand_over(self, numbers: Collection[int]) -> None:
        """Give back what is too much once all that we said of it is out, so that our successor's words come later."""
        await self._lose(numbers)
        if LEAD in numbers:
            await self._runtime.lead.resign()
        if await self._runtime.outbox.drained(DRAIN_S):
            await self._leases.give_back(numbers)
            log.info("partitions_handed_over", numbers=sorted(numbers))

    async def _lose(self, numbers: Collection[int]) -> None:
        if numbers:
            async with self._busy:
                self._forget(numbers)

    def _forget(self, numbers: Collection[int]) -> None:
        gone = set(numbers)
        self._kafka.pause(*(tp for tp in self._all if tp.partition in gone))
        self._held = [inbound for inbound in self._held if inbound.arrival.partition not in gone]
        for partition in [each for each in self._stored if each[1] in gone]:
            del self._stored[partition]
            self._seen.pop(partition, None)
        self._numbers -= gone

    def _mark_ready(self, now: Share) -> None:
        """Ready once it reads its share; the shares of later come and go without a word."""
        if not self._runtime.ready["consumer"] and len(self._numbers) >= now.fair:
            self._runtime.ready["consumer"] = True

    async def _gather(self, time: Callable[[], float]) -> None:
        """Add what has come to what waits for company, and know until when that may wait."""
        rest = self._began + self._pace - time() - LAST_LOOK_S
        if rest > 0:
            await asyncio.sleep(rest)
        wait_ms = max(0, min(POLL_MS, int((self._held_until - time()) * 1000))) if self._held else POLL_MS
        came = await self._poll(wait_ms)
        if not came:
            return
        patience = min(self._patience.get((i.arrival.topic, i.arrival.type), 0.0) for i in came)
        until = max(time() + patience, self._began + self._pace)
        self._held_until = min(self._held_until, until) if self._held else until
        self._held += came

    def _is_due(self, now: float) -> bool:
        return bool(self._held) and (now >= self._held_until or len(self._held) >= MAX_BATCH)

    async def _poll(self, wait_ms: int) -> list[Inbound]:
        """What is there, up to MAX_BATCH, in the order of the records' times (each partition's own order holds)."""
        try:
            polled = await self._kafka.getmany(timeout_ms=wait_ms, max_records=MAX_BATCH)
        except KafkaError as error:
            log.warning("poll_failed", error=repr(error))
            await asyncio.sleep(0.2)
            return []
        merged = heapq.merge(*polled.values(), key=lambda record: record.timestamp)
        batch = []
        for record in merged:
            partition = (record.topic, record.partition)
            if record.offset < self._seen.get(partition, 0) or partition not in self._stored:
                continue
            self._seen[partition] = record.offset + 1
            inbound = self._read(record)
            if inbound:
                batch.append(inbound)
        for tp in polled:
            highwater = self._kafka.highwater(tp)
            if highwater is not None:
                lag = highwater - self._seen.get((tp.topic, tp.partition), 0)
                CONSUMER_LAG.labels(tp.topic, tp.partition).set(lag)
        return batch

    def _read(self, record: "ConsumerRecord[bytes, bytes]") -> Inbound | None:
        """Decode a record of ours; None for a type that we do not consume."""
        name = type_of(record.headers)
        message = self._types.get((record.topic, name))
        if message is None and name:
            return None
        key = (record.key or b"").decode(errors="replace")
        arrival = Arrival(record.topic, record.partition, record.offset, key, name, record.headers, record.value or b"")
        delivery, fault = _decode(message, arrival)
        return Inbound(arrival, record.offset + 1, delivery, fault)

    async def _until_done(self, batch: list[Inbound]) -> None:
        """Handle the batch, whatever it takes: again after what passes, one by one after a handler's bug."""
        pause = 0.05
        while not self._stopping:
            try:
                await self._handle(batch)
                return
            except Fenced as error:
                log.warning("fenced", reason=str(error))
                await self._resume()
                return
            except PASSING as error:
                log.warning("batch_waits", messages=len(batch), error=repr(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
            except Exception as error:  # noqa: BLE001 - a handler's bug parks one key, never the partition
                if len(batch) == 1:
                    await self._park_failed(batch[0], error)
                    return
                log.error("batch_failed", messages=len(batch), exc_info=error)
                for inbound in batch:
                    await self._until_done([inbound])
                return

    async def _handle(self, batch: Sequence[Inbound]) -> None:
        began = stopwatch()
        runtime = self._runtime
        now = runtime.clock.now()
        good, waiting = self._set_aside(batch)
        moves = self._moves(batch)
        async with runtime.pool.acquire(timeout=5) as connection, connection.transaction():
            came = [i.delivery for i in good if i.delivery]
            gate = self._service.store.gate([delivery.message for delivery in came])
            fresh = await inbox.enter(connection, runtime.outbox.owner, moves, [d.envelope.id for d in came], now, gate)
            deliveries = _once(came, fresh)
            work = Work(self._service, runtime.memory, connection, now)
            await work.handle(deliveries)
            seqs = await work.keep(runtime.outbox.owner)
            if waiting:
                await parked.park(connection, waiting, now)
        for move in moves:
            self._stored[move.partition] = move.next
        if waiting:
            self._parked_keys.update(arrival.key for arrival, _ in waiting)
            PARKED.set(len(self._parked_keys))
            log.error("parked", messages=len(waiting), reason=waiting[0][1])
        await runtime.outbox.publish(seqs, work.records)
        BATCH_SIZE.observe(len(batch))
        BATCH_SECONDS.observe(stopwatch() - began)
        if self._service.committed:
            await self._service.committed(deliveries, runtime)

    def _set_aside(self, batch: Sequence[Inbound]) -> tuple[list[Inbound], list[tuple[Arrival, str]]]:
        """Part the batch: what cannot be decoded waits, and whatever follows of a key that waits."""
        if not self._parked_keys and not any(inbound.fault for inbound in batch):
            return list(batch), []
        good: list[Inbound] = []
        waiting: list[tuple[Arrival, str]] = []
        keys = set(self._parked_keys)
        for inbound in batch:
            if inbound.fault or inbound.arrival.key in keys:
                waiting.append((inbound.arrival, inbound.fault or parked.BEHIND))
                keys.add(inbound.arrival.key)
            else:
                good.append(inbound)
        return good, waiting

    def _moves(self, batch: Sequence[Inbound]) -> list[Move]:
        nexts: dict[Partition, int] = {}
        for inbound in batch:
            nexts[inbound.partition] = inbound.next_offset
        try:
            return [Move(partition, self._stored[partition], offset) for partition, offset in nexts.items()]
        except KeyError as error:
            raise Fenced(f"{error} was revoked while its batch was in hand") from error

    async def _park_failed(self, inbound: Inbound, error: Exception) -> None:
        """The handler cannot handle this message: keep it, with the reason, and go on with other keys."""
        reason = f"{type(error).__name__}: {error}"
        log.error("message_parked", type=inbound.arrival.type, key=inbound.arrival.key, exc_info=error)
        await self._until_done([Inbound(inbound.arrival, inbound.next_offset, None, reason)])

    async def _resume(self) -> None:
        """Fenced: forget what we thought, look who holds what, and begin again with what is ours."""
        self._forget(self._numbers)
        self._leases.look_soon()

    async def _retry_parked(self) -> None:
        """Handle, in order, the messages whose retry was asked for; stop at the first that fails again."""
        try:
            async with self._runtime.pool.acquire(timeout=5) as connection:
                while await self._retry_next(connection):
                    pass
                self._parked_keys = await parked.keys(connection)
                PARKED.set(len(self._parked_keys))
        except PASSING as error:
            log.warning("parked_retry_waits", error=repr(error))

    async def _retry_next(self, connection: Any) -> bool:
        runtime = self._runtime
        found: Parked | None = None
        try:
            async with connection.transaction():
                found = await parked.next_to_retry(connection)
                if found is None:
                    return False
                delivery = self._redeliver(found)
                gate = self._service.store.gate([delivery.message])
                fresh = await inbox.enter(
                    connection, runtime.outbox.owner, [], [delivery.envelope.id], runtime.clock.now(), gate
                )
                work = Work(self._service, runtime.memory, connection, runtime.clock.now())
                await work.handle([delivery] if delivery.envelope.id in fresh else [])
                seqs = await work.keep(runtime.outbox.owner)
                await parked.remove(connection, found.seq)
        except PASSING:
            raise
        except Exception as error:
            if found is None:
                raise
            await parked.failed_again(connection, found.key, found.seq, f"{type(error).__name__}: {error}")
            return True
        await runtime.outbox.publish(seqs, work.records)
        if self._service.committed:
            await self._service.committed([delivery], runtime)
        return True

    def _redeliver(self, found: Parked) -> Delivery:
        arrival = Arrival(found.topic, found.partition, found.offset, found.key, found.type, found.headers, found.value)
        delivery, fault = _decode(self._types.get((found.topic, found.type)), arrival)
        if delivery is None:
            raise Undecodable(fault or "unknown type")
        return delivery

    async def _forget_old_ids(self) -> None:
        horizon = self._runtime.clock.now() - timedelta(days=INBOX_DAYS)
        try:
            async with self._runtime.pool.acquire(timeout=5) as connection:
                await inbox.forget_before(connection, horizon)
        except PASSING as error:
            log.warning("inbox_cleaning_waits", error=repr(error))


def pace_after(seconds: float) -> float:
    """How long after the beginning of a batch that took so long the next may begin."""
    return min(max(PACE_FACTOR * seconds, PACE_MIN_S), PACE_MAX_S)


def _decode(message: type[Message] | None, arrival: Arrival) -> tuple[Delivery | None, str | None]:
    try:
        if message is None:
            raise Undecodable(f"no ce_type that {arrival.topic} carries: {arrival.type!r}")
        envelope = read_envelope(arrival.headers, arrival.key.encode())
        return Delivery(decode(message, arrival.value), envelope), None
    except Undecodable as error:
        return None, str(error)


def _once(deliveries: Sequence[Delivery], fresh: set[Any]) -> list[Delivery]:
    """The deliveries whose ids are fresh, the first of each id."""
    kept = []
    for delivery in deliveries:
        if delivery.envelope.id in fresh:
            fresh.discard(delivery.envelope.id)
            kept.append(delivery)
    return kept
