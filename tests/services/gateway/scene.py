"""The real gateway, and a counterparty that answers its requests as the other services would."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from libs.common import http, ids
from libs.common.clock import stopwatch
from libs.common.contracts.base import Delivery, Envelope, Message
from libs.common.contracts.ids import AccountId, UserId
from libs.common.messaging.envelope import decode, read_envelope, type_of
from libs.common.messaging.work import Work
from libs.common.runtime import Runtime
from libs.common.testing.caches import patient_redis
from services.gateway.app import app
from services.gateway.handlers import tell
from services.gateway.memory.cache import Cache
from services.gateway.memory.hub import Hub
from tests.services.gateway import said

PASSWORD = "correct horse battery staple"
Answer = Callable[[Message, Envelope], Sequence[Message]]
T = TypeVar("T")


@dataclass
class Person:
    """Somebody who logged in, with the client that sends his token."""

    user_id: UserId
    email: str
    client: httpx.AsyncClient
    tokens: dict[str, Any]
    account_id: AccountId = field(default_factory=lambda: AccountId(ids.new_id()))


class Platform:
    """A gateway, and what projects the events of the services that it talks to."""

    def __init__(self, runtime: Runtime[Any, Any]) -> None:
        self.runtime = runtime
        self.asked: list[Message] = []
        self.answer: Answer = said.nothing
        self._http = http.build_app(runtime)
        self._clients = contextlib.AsyncExitStack()

    async def client(self, **headers: str) -> httpx.AsyncClient:
        return await self.client_at("127.0.0.1", **headers)

    async def client_at(self, address: str, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self._http, raise_app_exceptions=False, client=(address, 123))
        client = httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)
        return await self._clients.enter_async_context(client)

    async def close(self) -> None:
        await self._clients.aclose()

    async def project(self, *messages: Message, correlation_id: UUID | None = None) -> None:
        """One batch, as the consumer would handle it, and what follows its commit."""
        deliveries = [Delivery(message, envelope(message, correlation_id)) for message in messages]
        async with self.runtime.pool.acquire() as connection, connection.transaction():
            work = Work(app, self.runtime.memory, connection, self.runtime.clock.now())
            await work.handle(deliveries)
            await work.store.write()
        await tell(deliveries, self.runtime)

    async def heard(self, count: int) -> list[Message]:
        """What the gateway said or asked, once so much came by Kafka; what it says is said after its commit."""
        async with asyncio.timeout(10):
            while len(self.asked) < count:
                await asyncio.sleep(0.01)
        return list(self.asked)

    def dead_producer(self) -> AIOKafkaProducer:
        """A producer that was never connected."""
        return AIOKafkaProducer(bootstrap_servers=self.runtime.settings.kafka_bootstrap)

    async def lose_redis(self) -> None:
        """From now on nothing answers where Redis was."""
        cache = self.runtime.memory.cache
        lost, cache.redis = cache.redis, Cache("redis://127.0.0.1:1/0").redis
        self._clients.push_async_callback(lost.aclose)

    async def project_elsewhere(self, *messages: Message) -> None:
        """Another instance projects: nobody here is told but through Redis."""
        memory = self.runtime.memory
        waiters, memory.waiters = memory.waiters, type(memory.waiters)()
        hub, memory.hub = memory.hub, Hub(self.runtime.pool, self.runtime.clock, memory.quotes, memory.turns)
        await self.project(*messages)
        memory.waiters, memory.hub = waiters, hub

    async def person(self, name: str, role: str | None = None) -> Person:
        """Registers, logs in and has an account; the first person of a test is super admin."""
        client = await self.client()
        email = f"{name}@example.com"
        body = {"email": email, "username": name, "password": PASSWORD}
        made = await client.post("/api/v2/auth/register", json=body)
        assert made.status_code == 201, made.text
        if role:
            await self.runtime.pool.execute("UPDATE users SET role = $2 WHERE email = $1", email, role)
        tokens = (await client.post("/api/v2/auth/login", json={"email": email, "password": PASSWORD})).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        person = Person(UserId(UUID(made.json()["user_id"])), email, client, tokens)
        await self.project(said.account_saved(person.user_id, person.account_id))
        return person


async def shortest_pause(ask: Callable[[], Coroutine[Any, Any, T]], wanted: float) -> tuple[float, T]:
    """For how many seconds nobody else has a turn while that is done, and what comes of it. The machine does something
    else, too; what is slow stays so.
    """
    shortest, found = await _pause(ask)
    for _ in range(9):
        if shortest < wanted:
            break
        pause, found = await _pause(ask)
        shortest = min(shortest, pause)
    return shortest, found


async def _pause(ask: Callable[[], Coroutine[Any, Any, T]]) -> tuple[float, T]:
    work = asyncio.create_task(ask())
    longest, at = 0.0, stopwatch()
    while not work.done():
        await asyncio.sleep(0.001)
        longest, at = max(longest, stopwatch() - at), stopwatch()
    return longest, await work


async def forget_counts() -> None:
    """Logins are limited over minutes; every test begins anew."""
    await forget("login:*")


async def forget(names: str) -> None:
    """Whatever gateways keep in Redis under such names."""
    async with patient_redis() as redis:
        async for key in redis.scan_iter(f"gateway:{names}"):
            await redis.delete(key)


def envelope(message: Message, correlation_id: UUID | None = None) -> Envelope:
    own = ids.new_id()
    return Envelope(
        id=own,
        type=type(message).__name__,
        source="/tests",
        time=said.NOW,
        key="",
        correlation_id=correlation_id or own,
        user_id=getattr(message, "user_id", None),
    )


@contextlib.asynccontextmanager
async def counterparty(platform: Platform) -> AsyncIterator[None]:
    """Reads what the gateway asks from Kafka and projects what `platform.answer` says to it."""
    names = {message.__name__: message for topic in app.produces for message in topic.carries}
    consumer = AIOKafkaConsumer(
        *(topic.name for topic in app.produces),
        bootstrap_servers=platform.runtime.settings.kafka_bootstrap,
        auto_offset_reset="latest",
    )
    await consumer.start()
    await consumer.seek_to_end()

    async def serve() -> None:
        async for record in consumer:
            request = decode(names[type_of(record.headers)], record.value)
            found = read_envelope(record.headers, record.key)
            platform.asked.append(request)
            answers = platform.answer(request, found)
            if answers:
                await platform.project(*answers, correlation_id=found.correlation_id)

    for partition in consumer.assignment():
        await consumer.position(partition)
    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.stop()
