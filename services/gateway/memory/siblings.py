"""Other instances of the gateway: one Redis message a batch tells them what was projected here.

The message carries numbers and ids only. Who is concerned reads the projection, so a message that is lost costs
time, never truth: the next one shows the gap, and waiting requests look for themselves.
"""

import asyncio
import contextlib
from uuid import UUID

import orjson
from redis.exceptions import RedisError

from libs.common import ids
from libs.common.telemetry import log
from services.gateway.domain.answers import is_decided
from services.gateway.memory.cache import Cache
from services.gateway.memory.hub import Hub
from services.gateway.memory.waiters import Waiters
from services.gateway.store.changes import Changes, Channel

_CHANNEL = "batches"
_LOOK_S = 1.0
_UNHEARD = 3
"""Greetings of our own that did not come back: who only listens would not notice that its way to Redis is cut."""
_FAREWELL_LOOKS = 5
"""An instance may die between its commit and telling of it: so often those who are left still look for what it did."""


class Siblings:
    def __init__(self, cache: Cache, waiters: Waiters, hub: Hub) -> None:
        self._cache = cache
        self._waiters = waiters
        self._hub = hub
        self._name = str(ids.new_id())
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self.alone = True
        """Redis says that nobody else projects: what this process projects is all there is."""

    async def open(self) -> None:
        self._tasks = [
            asyncio.create_task(self._listen(), name="siblings:listen"),
            asyncio.create_task(self._look(), name="siblings:look"),
        ]

    async def close(self) -> None:
        """The Redis client may answer a cancellation with an error of its own, so the loops look for themselves."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tell(self, changes: Changes) -> None:
        """Publish what a batch changed, unless nobody else listens."""
        if self.alone or self._cache.away or not (changes.pushes or changes.outcomes):
            return
        decided = [order_id for order_id, row in changes.orders.items() if is_decided(row["status"])]
        seqs = {(push.user_id, push.channel): push.seq for push in changes.pushes}
        message = {
            "from": self._name,
            "seqs": [(user, channel, seq) for (user, channel), seq in seqs.items()],
            "ended": [*changes.outcomes, *decided],
        }
        await self._cache.publish(_CHANNEL, orjson.dumps(message, default=str))

    async def _look(self) -> None:
        """Count the instances; catch up with them while Redis cannot carry their messages, and with those that left."""
        looks_alone = _FAREWELL_LOOKS
        while not self._closing:
            await self._cache.drop()
            listeners = await self._cache.listeners(_CHANNEL)
            self.alone = listeners is not None and listeners <= 1
            looks_alone = looks_alone + 1 if self.alone else 0
            if looks_alone <= _FAREWELL_LOOKS:
                self._hub.catch_up()
            await asyncio.sleep(_LOOK_S)

    async def _listen(self) -> None:
        while not self._closing:
            try:
                async with self._cache.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(self._cache.name(_CHANNEL))
                    unheard = 0
                    while not self._closing:
                        if unheard == _UNHEARD:
                            raise TimeoutError("Redis does not bring us what we say ourselves")
                        await self._cache.publish(_CHANNEL, orjson.dumps({"from": self._name, "hello": True}))
                        while (message := await pubsub.get_message(timeout=_LOOK_S)) and not self._closing:
                            unheard = 0
                            self._hear(message["data"])
                        unheard += 1
            except (RedisError, OSError, TimeoutError) as error:
                if self._closing:
                    return
                log.warning("siblings_not_heard", error=repr(error))
                await asyncio.sleep(_LOOK_S)

    def _hear(self, data: str) -> None:
        with contextlib.suppress(ValueError, KeyError):
            message = orjson.loads(data)
            if message["from"] == self._name:
                return
            self.alone = False
            self._waiters.nudge([UUID(text) for text in message.get("ended", ())])
            for user, channel, seq in message.get("seqs", ()):
                self._hub.hear(UUID(user), Channel(channel), seq)
