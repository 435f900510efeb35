"""What Redis shows: the newest quotes, and who is logged in."""

from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

QUOTES = "quotes"
SESSIONS = "gateway:session:"
ANSWER_S = 5.0


class CacheAway(Exception):
    """Redis does not answer. Nothing is lost with it but speed, so this breaks no rule."""


class Cache(Protocol):
    async def quotes(self) -> dict[str, bytes]:
        """Quotes as JSON, by instrument."""

    async def sessions(self) -> dict[str, str]:
        """Roles by session id; none of a session that was ended just now, of which an empty text stands there."""

    async def close(self) -> None: ...


class RedisCache:
    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)

    async def quotes(self) -> dict[str, bytes]:
        try:
            found = await self._redis.hgetall(QUOTES)
        except (RedisError, OSError) as error:
            raise CacheAway(repr(error)) from error
        return {_text(name): _bytes(value) for name, value in found.items()}

    async def sessions(self) -> dict[str, str]:
        found = {}
        try:
            async for key in self._redis.scan_iter(match=f"{SESSIONS}*", count=1_000):
                role = await self._redis.get(key)
                if role:
                    found[_text(key).removeprefix(SESSIONS)] = _text(role)
        except (RedisError, OSError) as error:
            raise CacheAway(repr(error)) from error
        return found

    async def close(self) -> None:
        await self._redis.aclose()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
