"""Redis, as something that may be away: every question has an answer without it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.common.telemetry import log

_PREFIX = "gateway:"
_TIMEOUT_S = 0.3
_DROPPED_S = 30
"""Longer than a question to the database takes."""
_DROPPED_AT_ONCE = 500
_UNHEARD_S = 90.0
"""Longer than anything that may not be believed any more is kept there."""
_REST_S = 1.0
"""After a failure Redis is left alone for so long, so that not every request waits for it."""

T = TypeVar("T")


class Cache:
    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, decode_responses=True
        )
        self._away_until = 0.0
        self._counts: dict[str, tuple[int, float]] = {}
        self._unheard: dict[str, float] = {}
        """What Redis was told to drop and may not have heard, and until when it may still have it; oldest first."""

    async def close(self) -> None:
        await self.redis.aclose()

    @property
    def away(self) -> bool:
        return asyncio.get_running_loop().time() < self._away_until

    async def answers(self) -> bool:
        return bool(await self._ask(self.redis.ping(), default=False))

    async def get(self, key: str) -> str | None:
        if key in self._unheard:
            return None
        found = await self._ask(self.redis.get(_PREFIX + key), default=None)
        return found.decode() if isinstance(found, bytes) else found

    async def put(self, key: str, value: str, seconds: int) -> None:
        """Unless it is there, or was dropped just now: what was read before that may be told after it."""
        await self._ask(self.redis.set(_PREFIX + key, value, ex=seconds, nx=True), default=None)

    async def drop(self, *keys: str) -> None:
        """For so long that nobody still brings what he read before, an empty text stands there. Without keys, again
        what Redis did not hear of: it would tell of a session that ended as long as it remembers it.
        """
        now = asyncio.get_running_loop().time()
        self._unheard = {key: until for key, until in self._unheard.items() if until > now}
        self._unheard |= dict.fromkeys(keys, now + _UNHEARD_S)
        untold = list(self._unheard)
        for n in range(0, len(untold), _DROPPED_AT_ONCE):
            some = untold[n : n + _DROPPED_AT_ONCE]
            pipeline = self.redis.pipeline(transaction=True)
            for key in some:
                pipeline.set(_PREFIX + key, "", ex=_DROPPED_S)  # type: ignore[unused-awaitable]  # as in count
            if await self._ask(pipeline.execute(), default=None) is None:
                return
            for key in some:
                self._unheard.pop(key, None)

    async def count(self, key: str, window_s: int) -> int:
        """How often this was asked within the window, this time included; counted here while Redis is away."""
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.incr(_PREFIX + key)  # type: ignore[unused-awaitable]  # queued, sent by execute
        pipeline.expire(_PREFIX + key, window_s, nx=True)  # type: ignore[unused-awaitable]
        found = await self._ask(pipeline.execute(), default=None)
        return int(found[0]) if found else self._count_here(key, window_s)

    async def counted(self, key: str) -> int:
        """How often that was, without counting."""
        found = await self._ask(self.redis.get(_PREFIX + key), default=None)
        count, until = self._counts.get(key, (0, 0.0))
        return int(found) if found else count if until > asyncio.get_running_loop().time() else 0

    async def publish(self, channel: str, message: bytes) -> bool:
        return await self._ask(self.redis.publish(_PREFIX + channel, message), default=None) is not None

    async def listeners(self, channel: str) -> int | None:
        """How many instances listen; None when Redis does not say."""
        found = await self._ask(self.redis.pubsub_numsub(_PREFIX + channel), default=None)
        return int(found[0][1]) if found else None

    def name(self, channel: str) -> str:
        return _PREFIX + channel

    async def _ask(self, question: Awaitable[T], *, default: T) -> T:
        if self.away:
            if asyncio.iscoroutine(question):
                question.close()
            return default
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await question
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = asyncio.get_running_loop().time() + _REST_S
            log.warning("redis_away", error=repr(error))
            return default

    def _count_here(self, key: str, window_s: int) -> int:
        now = asyncio.get_running_loop().time()
        if len(self._counts) > 10_000:
            self._counts = {k: v for k, v in self._counts.items() if v[1] > now}
        count, until = self._counts.get(key, (0, 0.0))
        count, until = (count + 1, until) if until > now else (1, now + window_s)
        self._counts[key] = (count, until)
        return count
