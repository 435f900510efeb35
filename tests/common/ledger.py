"""A small service of the tests' own: it books amounts per account, exactly once, and says the new balance."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from libs.common import database, ids
from libs.common.clock import SystemClock
from libs.common.contracts.base import Delivery, Envelope, Event, Message, Request, Topic
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.entry import of_aiokafka, of_librdkafka
from libs.common.messaging.envelope import Record, decode, read_envelope, record
from libs.common.messaging.outbox_table import keep
from libs.common.messaging.schema import TABLES
from libs.common.runtime import Runtime
from libs.common.service import Context, Handler, Memory, Service, Store, on
from libs.common.settings import CommonSettings, KafkaSettings, ServiceSettings
from libs.common.testing.delivery import NOON, envelope_of
from libs.common.writes import Writes


class DepositRequested(Request):
    account_id: str
    amount: int


class NoteRequested(Request):
    """Something on the same topic that the ledger does not care for."""

    account_id: str


class BalanceChanged(Event):
    account_id: str
    balance: int
    amount: int


class LedgerStore(Store):
    async def deposit(self, account_id: str, amount: int) -> int:
        balance: int = await self.connection.fetchval(
            """
            INSERT INTO balances VALUES ($1, $2)
            ON CONFLICT (account_id) DO UPDATE SET balance = balances.balance + $2 RETURNING balance
            """,
            account_id,
            amount,
        )
        return balance


class LedgerMemory(Memory):
    def __init__(self) -> None:
        self.broken = {"cursed"}
        self.pause = asyncio.Event()
        self.pause.set()


async def deposit(request: DepositRequested, ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    await ctx.memory.pause.wait()
    if request.amount == 13 and ctx.memory.broken:
        raise ValueError("thirteen is unlucky")
    balance = await ctx.store.deposit(request.account_id, request.amount)
    return [BalanceChanged(account_id=request.account_id, balance=balance, amount=request.amount)]


async def refuse_deposit(request: DepositRequested, ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    return [BalanceChanged(account_id=request.account_id, balance=0, amount=-request.amount)]


async def note(request: NoteRequested, ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    return []


async def audit(ctx: Context[LedgerStore, LedgerMemory]) -> Sequence[Message]:
    """For a timer: it reads, and says nothing."""
    await ctx.store.connection.fetchval("SELECT sum(balance) FROM balances")
    return []


def deposit_of(account_id: str, amount: int) -> DepositRequested:
    return DepositRequested(account_id=account_id, amount=amount)


class Ledger:
    """One test's ledger: its own topics, database and consumer group."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.requests = Topic(f"{name}.requests.v1", DepositRequested, NoteRequested, key="account_id", partitions=6)
        self.events = Topic(f"{name}.events.v1", BalanceChanged, key="account_id", retention=timedelta(hours=1))
        self.heard: list[Delivery] = []
        self.service = Service(
            name=name,
            store=LedgerStore,
            memory=LedgerMemory,
            consumes=[on(self.requests, DepositRequested, deposit)],
            produces=[self.events],
        )

    def be_patient(self, seconds: float) -> None:
        """Let deposits wait for company; a note is urgent."""
        consumes = [
            on(self.requests, DepositRequested, deposit, patience=seconds),
            on(self.requests, NoteRequested, note),
        ]
        self.service = replace(self.service, consumes=consumes)

    def answer_for_what_is_given_up(self, given_up: Handler[DepositRequested, LedgerStore, LedgerMemory]) -> None:
        consumes = [on(self.requests, DepositRequested, deposit, given_up=given_up)]
        self.service = replace(self.service, consumes=consumes)

    @contextlib.asynccontextmanager
    async def running(self, instance: str = "0") -> AsyncIterator[Runtime[LedgerStore, LedgerMemory]]:
        """One instance of the service, as `run` would have it, without the HTTP listener."""
        settings = CommonSettings(instance_id=instance)
        runtime = Runtime(self.service, settings, ServiceSettings(database_url=self.url, port=0), SystemClock())
        await runtime.open()
        consumer = Consumer(runtime)
        tasks = [asyncio.create_task(consumer.run()), asyncio.create_task(runtime.outbox.run())]
        try:
            yield runtime
        finally:
            await consumer.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await runtime.close()

    async def request(self, *messages: Message, message_id: UUID | None = None) -> list[Envelope]:
        """Publish requests in order; their envelopes."""
        records = [record(self.requests, m, self._envelope(m, message_id)) for m in messages]
        await publish(records)
        return [r.envelope for r in records]

    def _envelope(self, message: Message, message_id: UUID | None) -> Envelope:
        made = envelope_of(message, message_id=message_id or ids.new_id())
        return Envelope(made.id, made.type, made.source, made.time, self.requests.key_of(message), made.correlation_id)

    async def connect(self) -> asyncpg.Connection:
        return await database.connect(self.url, self.name)

    async def balances(self) -> dict[str, int]:
        connection = await self.connect()
        rows = await connection.fetch("SELECT account_id, balance FROM balances")
        await connection.close()
        return {row["account_id"]: row["balance"] for row in rows}

    async def eventually(self, expected: dict[str, int], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while await self.balances() != expected:
                await asyncio.sleep(0.05)

    async def hears(self, seconds: float = 20) -> AsyncIterator[tuple[Envelope, BalanceChanged]]:
        """Every event on the topic, repeated ones too, oldest first per account; TimeoutError when no more come."""
        async with reading(self.events) as consumer, asyncio.timeout(seconds):
            while True:
                polled = await consumer.getmany(timeout_ms=100)
                for each in (r for records in polled.values() for r in records):
                    message: Any = decode(BalanceChanged, each.value)
                    yield read_envelope(each.headers, each.key), message

    async def forgets_what_it_said(self, seconds: float = 10) -> None:
        connection = await self.connect()
        async with asyncio.timeout(seconds):
            while await connection.fetchval("SELECT count(*) FROM message_outbox"):
                await asyncio.sleep(0.05)
        await connection.close()

    async def said(self, count: int, seconds: float = 20) -> list[tuple[Envelope, BalanceChanged]]:
        """The first `count` events on the topic (or TimeoutError), oldest first per account."""
        found: list[tuple[Envelope, BalanceChanged]] = []
        async with reading(self.events) as consumer, asyncio.timeout(seconds):
            while len(found) < count:
                polled = await consumer.getmany(timeout_ms=100)
                for each in (r for records in polled.values() for r in records):
                    message: Any = decode(BalanceChanged, each.value)
                    found.append((read_envelope(each.headers, each.key), message))
        return found


async def publish(records: Sequence[Record], *, raw_headers: Sequence[tuple[str, bytes | None]] | None = None) -> None:
    producer = AIOKafkaProducer(**of_aiokafka(KafkaSettings()), acks="all")
    await producer.start()
    for each in records:
        headers = raw_headers if raw_headers is not None else each.headers()
        await producer.send_and_wait(each.topic, each.value, key=each.key, headers=headers)
    await producer.stop()


@contextlib.asynccontextmanager
async def reading(topic: Topic) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**of_aiokafka(KafkaSettings()), auto_offset_reset="earliest")
    await consumer.start()
    partitions = [TopicPartition(topic.name, p) for p in range(topic.partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    try:
        yield consumer
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def new_ledger() -> AsyncIterator[Ledger]:
    """A ledger with fresh topics and a fresh database; both are dropped afterwards."""
    name = f"ledger{ids.new_id().hex[-12:]}"
    admin_url = os.environ["POSTGRES_ADMIN_URL"]
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = admin_url.rsplit("/", 1)[0] + f"/{name}"
    ledger = Ledger(name, url)
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE SCHEMA {name}; SET search_path = {name};")
    for statement in (*TABLES, "CREATE TABLE balances (account_id text PRIMARY KEY, balance integer NOT NULL)"):
        await connection.execute(statement)
    await connection.close()
    kafka = AdminClient(of_librdkafka(KafkaSettings()))
    topics = [NewTopic(t.name, num_partitions=t.partitions) for t in (ledger.requests, ledger.events)]
    for future in kafka.create_topics(topics, operation_timeout=10).values():
        future.result(10)
    try:
        yield ledger
    finally:
        kafka.delete_topics([t.topic for t in topics])
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def balance_of_a(ledger: Ledger, balance: int) -> Record:
    event = BalanceChanged(account_id="a", balance=balance, amount=balance)
    return record(ledger.events, event, replace(envelope_of(event, now=NOON), key="a"))


async def keep_committed(ledger: Ledger, owner: int, row: Record) -> None:
    connection = await ledger.connect()
    async with connection.transaction():
        await keep(Writes(connection), owner, [row])
    await connection.close()
