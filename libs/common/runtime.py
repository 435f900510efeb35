"""What a running service has in hand, and by which it speaks."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from math import inf
from typing import Any, Generic
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, OutOfOrderSequenceNumber

from libs.common import database, ids
from libs.common.clock import Clock, stopwatch
from libs.common.contracts.base import Envelope, Message
from libs.common.messaging import outbox_table
from libs.common.messaging.bulk import BulkPublisher
from libs.common.messaging.entry import ANSWER_MS, knock, of_aiokafka
from libs.common.messaging.envelope import Record, record
from libs.common.messaging.errors import MessagingUnavailable, Unconfirmed
from libs.common.messaging.lead import Lead
from libs.common.messaging.outbox import Outbox
from libs.common.messaging.partitioner import partition_for
from libs.common.messaging.suspects import InHand
from libs.common.messaging.waiting import PASSING, NotThere, until_there
from libs.common.messaging.work import Work, origin
from libs.common.service import Context, S, Service, V
from libs.common.settings import CommonSettings, ServiceSettings
from libs.common.telemetry import log
from libs.common.writes import Writes

SEND_SECONDS = 1.5
"""How long a caller waits for Kafka to keep a message before it is told that it was not."""
LAST_LOOK_SECONDS = 0.25
"""How long it then looks whether Kafka's answer came all the same: it may be here, and we stood still."""
KEEP_SECONDS = 0.5
"""How long it then waits for a connection to the outbox."""
ASK_SECONDS = 0.05
"""Between two questions of a producer who leads."""
POOL_SECONDS = 10.0
"""How long who still holds a connection may take to give it back when we end."""
STOP_SECONDS = 3.0
"""How long Kafka may take to confirm what is under way when we end."""


class Unit(Generic[S, V]):
    """A transaction of a route or task: read and write through `store`, `say` events; all commit together."""

    def __init__(self, work: Work[S, V], cause: Envelope) -> None:
        self._work = work
        self._cause = cause
        self.store = work.store
        self.now = work.now

    @property
    def context(self) -> Context[S, V]:
        return self._work.context(self._cause)

    def derive(self, *names: object) -> UUID:
        return ids.derive(self._cause.id, *names)

    def say(self, *messages: Message, correlation_id: UUID | None = None, user_id: UUID | None = None) -> None:
        """As part of another story than the transaction's own, if `correlation_id` names one."""
        story = replace(self._cause, correlation_id=correlation_id, user_id=user_id) if correlation_id else self._cause
        self._work.say(messages, story)


class Runtime(Generic[S, V]):
    """The service's connections, opened by `run` and closed after the drain."""

    def __init__(self, service: Service[S, V], common: CommonSettings, own: ServiceSettings, clock: Clock) -> None:
        self.service = service
        self.settings = common
        self.own_settings = own
        self.clock = clock
        self.memory = service.memory()
        self.pool: asyncpg.Pool
        self.producer: AIOKafkaProducer
        self.outbox: Outbox
        self.bulk: BulkPublisher
        self.ready: dict[str, bool] = {}
        self.held_up: set[str] = set()
        """Parts that have tried one thing for long, which has failed each time: nothing behind it is done either."""
        self.lead = Lead()
        self.in_hand = InHand(own.database_url, service.name)
        self.caught_up = asyncio.Event()
        """What Kafka held for us when we began to read our share of it was handled."""
        self.stopping = asyncio.Event()
        self._owner = secrets.randbits(31)
        """By which the others know this process: of its leases, its words in the outbox, its sessions in PostgreSQL."""
        self._confirmed_at = -1.0
        """When Kafka last confirmed what `send` had sent, by the stopwatch."""
        self._kafka_is_away = False
        """It kept nothing of what waits, so only one message at a time is sent, to see whether it does again."""
        self._looking = False

    async def open(self) -> None:
        """Raises NotThere when PostgreSQL or Kafka is away until the process shall stop, or will not have us."""
        async with contextlib.AsyncExitStack() as undo:
            self.pool, self.producer = await self._connected(undo)
            self.bulk = BulkPublisher(self.service, self.settings, self.clock)
            self.outbox = Outbox(
                self.service.name,
                self.settings.instance_id,
                self._owner,
                self.producer,
                self.pool,
                lambda: database.connect(self.own_settings.database_url, self.service.name, self._owner),
                self.clock,
            )
            await until_there("postgres", self.outbox.open, self.stopping)
            undo.pop_all()

    async def open_or_exit(self) -> None:
        """As `open`, for what a person runs: ends the process with one line instead of NotThere."""
        try:
            await self.open()
        except NotThere as absent:
            raise SystemExit(f"{absent}: {absent.remedy(self.service.name)}") from absent

    async def _connected(self, undo: contextlib.AsyncExitStack) -> tuple[asyncpg.Pool, AIOKafkaProducer]:
        """To both at once. While one will not have us nothing is told of the other, which may need a moment more."""

        async def pool() -> asyncpg.Pool:
            opened = await database.open_pool(self.own_settings.database_url, self.service.name, owner=self._owner)
            undo.callback(opened.terminate)
            return opened

        async def producer() -> AIOKafkaProducer:
            started = await self._started_producer()
            undo.push_async_callback(started.stop)
            return started

        faults: dict[str, BaseException] = {}
        try:
            async with asyncio.TaskGroup() as group:
                opening = group.create_task(until_there("postgres", pool, self.stopping), name="postgres")
                starting = group.create_task(until_there("kafka", producer, self.stopping), name="kafka")
            return opening.result(), starting.result()
        except* NotThere as absent:
            for each in absent.exceptions:
                faults |= each.faults if isinstance(each, NotThere) else {}
            if self.stopping.is_set():
                late = TimeoutError("it had not answered yet")
                faults |= {task.get_name(): late for task in (opening, starting) if task.cancelled()}
        raise NotThere(faults)

    async def _started_producer(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **of_aiokafka(self.settings),
            client_id=f"{self.service.name}-{self.settings.instance_id}",
            enable_idempotence=True,
            acks="all",
            partitioner=partition_for,
            linger_ms=0,
            max_batch_size=262_144,
            request_timeout_ms=ANSWER_MS,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )
        _ask_at_intervals(producer.client)
        producer._message_accumulator._batch_ttl = inf  # one given up for want of a leader puts the next out of order
        try:
            await producer.start()
        except BaseException as error:
            await producer.stop()
            if isinstance(error, KafkaError):
                await knock(self.settings)
            raise
        return producer

    async def servers(self) -> dict[str, bool]:
        """Whether Kafka and PostgreSQL answer, each within a second."""
        kafka, postgres = await asyncio.gather(
            _answers(self.producer.client.fetch_all_metadata()), _answers(self.pool.fetchval("SELECT 1"))
        )
        return {"kafka": kafka, "postgres": postgres}

    async def has_what_it_needs(self) -> bool:
        """Whether PostgreSQL answers, and Kafka took what was said: else any work may have to wait.

        Asked on a new connection: all of the pool's may be in the hands of those who wait.
        """
        if self.outbox.waits():
            return False
        try:
            connection = await database.connect(self.own_settings.database_url, self.service.name)
            try:
                await connection.execute("SELECT 1", timeout=1)
            finally:
                connection.terminate()
        except (*PASSING, asyncpg.PostgresError):
            return False
        return True

    async def close(self) -> None:
        await self.outbox.close()
        await self.bulk.close()
        await self._stop_producer()
        try:
            await asyncio.wait_for(self.pool.close(), POOL_SECONDS)
        except TimeoutError:
            log.warning("stopped_without_postgres")
            self.pool.terminate()

    async def _stop_producer(self) -> None:
        """It would ask a Kafka that is away for ever, until its sender ends; the outbox has what may not be lost."""
        stopping = asyncio.ensure_future(self.producer.stop())
        _, late = await asyncio.wait([stopping], timeout=STOP_SECONDS)
        if late:
            log.warning("stopped_without_kafka")
            self.producer._sender.sender_task.cancel()
        await stopping

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, user_id: UUID | None = None, correlation_id: UUID | None = None
    ) -> AsyncIterator[Unit[S, V]]:
        """State and events together; the events are published right after the commit.

        Where the connection breaks at the commit it may have been made all the same: its events go out then, too.
        """
        cause = origin(self.service, self.clock.now(), user_id, correlation_id)
        with self.outbox.committing() as commit:
            async with self.pool.acquire(timeout=2) as connection, connection.transaction():
                work = Work(self.service, self.memory, connection, self.clock.now())
                yield Unit(work, cause)
                seqs = commit.says(await work.keep(self.outbox.owner), work.records)
            await self.outbox.publish(seqs, work.records)

    async def send(
        self,
        message: Message,
        *,
        user_id: UUID | None = None,
        message_id: UUID | None = None,
        correlation_id: UUID | None = None,
    ) -> Envelope:
        """Publish one message directly; Kafka has it on every in-sync replica when this returns, or our outbox has it.

        Raises MessagingUnavailable when that takes longer than SEND_SECONDS and Kafka has confirmed nothing since,
        Unconfirmed when it has, and our outbox cannot take it either.

        While Kafka is away only one message at a time waits for it, and the others are refused at once: what was sent
        goes out when it is back, and a thousand that nobody waits for any more would go before those that count.
        """
        topic = self.service.topic_of(type(message))
        cause = origin(self.service, self.clock.now(), user_id, correlation_id)
        own = message_id or cause.id
        envelope = replace(
            cause,
            id=own,
            type=type(message).__name__,
            key=topic.key_of(message),
            correlation_id=correlation_id or own,
        )
        out = record(topic, message, envelope)
        with self._one_at_a_time_while_away():
            await self._until_kept(out)
        return envelope

    @property
    def sends_nothing(self) -> bool:
        """Whether `send` refuses now: Kafka is away, and somebody looks already whether it is back."""
        return self._kafka_is_away and self._looking

    @contextlib.contextmanager
    def _one_at_a_time_while_away(self) -> Iterator[None]:
        if not self._kafka_is_away:
            yield
            return
        if self.sends_nothing:
            raise MessagingUnavailable("Kafka is away, nothing was sent")
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    async def _until_kept(self, out: Record) -> None:
        """By Kafka, or else by our outbox."""
        began = stopwatch()
        sent: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(SEND_SECONDS):
                sent = await self.producer.send(out.topic, out.value, key=out.key, headers=out.headers())
                sent.add_done_callback(self._heard)
                await asyncio.shield(sent)
        except OutOfOrderSequenceNumber:
            await self._keep_in_outbox(out)  # Kafka takes no more of our producer there: the next process sends it
        except (KafkaError, TimeoutError, OSError) as error:
            if not await _was_kept(sent):
                if self._confirmed_at <= began:
                    self._kafka_is_away = True
                    what = f"{out.envelope.type} {out.envelope.id}"
                    raise MessagingUnavailable(f"Kafka did not keep {what}: {error!r}") from error
                await self._keep_in_outbox(out)

    def _heard(self, sent: "asyncio.Future[Any]") -> None:
        """Also of what nobody waits for any more."""
        if not sent.cancelled() and sent.exception() is None:
            self._confirmed_at = stopwatch()
            self._kafka_is_away = False

    async def _keep_in_outbox(self, out: Record) -> None:
        """Kafka is there and slow, so it may well have this message, and nobody may be told that it was not taken: the
        outbox sends it, under the same id, until it is confirmed.
        """
        try:
            async with self.pool.acquire(timeout=KEEP_SECONDS) as connection, connection.transaction():
                await outbox_table.keep(Writes(connection), self.outbox.owner, [out])
        except database.FAILURES as error:
            raise Unconfirmed(f"neither Kafka nor the outbox confirmed {out.envelope.id}: {error!r}") from error
        finally:
            self.outbox.relay_soon()  # it may have it all the same, where only the answer was lost

    def publish_bulk(self, message: Message, kept: Callable[[], None] | None = None) -> None:
        """Buffer a tick, quote or candle for librdkafka; latest-wins data only. `kept` hears when Kafka has it."""
        self.bulk.publish(message, kept)


def _ask_at_intervals(client: AIOKafkaClient) -> None:
    """Where nobody leads the partition of what waits it asks who does, and again as soon as it is answered: a thousand
    times a second, each process.
    """
    ask, asked_at = client._metadata_update, -inf

    async def at_intervals(*about: object) -> bool:
        nonlocal asked_at
        await asyncio.sleep(max(0.0, asked_at + ASK_SECONDS - stopwatch()))
        asked_at = stopwatch()
        return bool(await ask(*about))

    client._metadata_update = at_intervals


async def _was_kept(sent: "asyncio.Future[Any] | None") -> bool:
    """Whether Kafka confirms what it was given, at the last moment."""
    if sent is None:
        return False
    await asyncio.wait((sent,), timeout=LAST_LOOK_SECONDS)
    return sent.done() and not sent.cancelled() and sent.exception() is None


async def _answers(question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(1):
            await question
    except Exception:  # noqa: BLE001 - whatever it is, no answer came
        return False
    return True
