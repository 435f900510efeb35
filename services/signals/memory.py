"""What the webhook listener holds: its settings and secrets, the calendar, and how often each webhook was called."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.common import ids
from libs.common.contracts.enums import SignalType
from libs.common.contracts.ids import SignalGroupId, SignalId, UserId
from libs.common.contracts.signals import SignalGroup
from libs.common.security import WebhookSecrets
from libs.common.service import Memory
from libs.common.settings import load
from libs.common.telemetry import log
from libs.common.trading_calendar import TradingCalendar
from services.signals.domain import rate
from services.signals.domain.fates import SENT_AGAIN_SECONDS, Arrival, Fate, Flood
from services.signals.settings import SignalsSettings

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

Webhook = tuple[SignalGroupId, int]
"""A group, and which rotation of its secrets."""
Sender = tuple[Webhook | None, UserId | None]
"""No webhook is a stranger's; whose it is is known once an alert of it was taken up."""
_REDIS_SECONDS = 0.1
_REDIS_AVOIDED_SECONDS = 5.0
_MOST_BUCKETS = 10_000
_MOST_OWNERS = 100_000
_MOST_FLOODS = 1_000
_TAKE = """
    local capacity, now = tonumber(ARGV[1]), tonumber(ARGV[2])
    local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    local tokens, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
    if at > now + 60 then tokens, at = capacity, now end
    tokens = math.min(capacity, tokens + math.max(0, now - at) * capacity / 60)
    local wait = 0
    if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) * 60 / capacity end
    redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.3f', math.max(now, at)))
    redis.call('EXPIRE', KEYS[1], 120)
    return {tostring(wait), redis.call('GET', KEYS[2]) or ''}
"""


class RateLimiter:
    """A token bucket per webhook and kind of alert: in Redis, shared by all instances; in this process without Redis.

    On the way it tells of alerts whose senders had to hear that nobody knows whether they were taken: the same content,
    sent again within SENT_AGAIN_SECONDS, is no second alert, whatever the group's window. The log tells whether it was
    sent again already: any instance may have answered that.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._own: dict[str, rate.Bucket] = {}
        self._unanswered: dict[str, tuple[SignalId, float]] = {}
        """And until when, by the loop's clock."""
        self._avoid_redis_until = 0.0

    async def enter(
        self, group_id: SignalGroupId, kind: SignalType, content: bytes, per_minute: int, now: float
    ) -> tuple[float, SignalId | None]:
        """Take one token: the seconds to wait, 0 when there was one; and the signal that this alert may be already."""
        keys = [f"signals:rate:{group_id}:{kind}", _unanswered(group_id, content)]
        answer = await self._ask(self._take(keys=keys, args=[per_minute, f"{now:.3f}"]))
        known, until = self._unanswered.get(keys[1], (None, 0.0))
        if until < asyncio.get_running_loop().time():
            known = None
        if answer is None:
            return self.own_seconds_to_wait(f"{group_id}:{kind}", per_minute, now), known
        wait, kept = answer
        return float(wait), known or (SignalId(UUID(kept.decode())) if kept else None)

    def own_seconds_to_wait(self, webhook: str, per_minute: int, now: float) -> float:
        """The same within this process alone."""
        if len(self._own) > _MOST_BUCKETS:
            self._own.clear()
        self._own[webhook], wait = rate.take(self._own.get(webhook), per_minute, now)
        return wait

    async def note_unanswered(self, group_id: SignalGroupId, content: bytes, signal_id: SignalId) -> None:
        """Whichever instance the alert comes to once more."""
        name = _unanswered(group_id, content)
        if len(self._unanswered) > _MOST_BUCKETS:
            self._unanswered.clear()
        self._unanswered[name] = signal_id, asyncio.get_running_loop().time() + SENT_AGAIN_SECONDS
        await self._ask(self._redis.set(name, str(signal_id), ex=SENT_AGAIN_SECONDS))

    async def _ask(self, question: Awaitable[Any]) -> Any:
        """None while Redis is away."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._avoid_redis_until:
            if asyncio.iscoroutine(question):
                question.close()
            return None
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                return await question
        except (RedisError, OSError, TimeoutError) as error:
            self._avoid_redis_until = loop.time() + _REDIS_AVOIDED_SECONDS
            log.warning("rate_limit_without_redis", error=repr(error))
            return None

    async def close(self) -> None:
        await self._redis.aclose()


def _unanswered(group_id: SignalGroupId, content: bytes) -> str:
    return f"signals:unanswered:{group_id}:{content.hex()}"


class SignalsMemory(Memory):
    def __init__(self) -> None:
        self.settings = load(SignalsSettings)
        self.secrets = WebhookSecrets(self.settings.webhook_secret)
        self.calendar: TradingCalendar
        self.limiter: RateLimiter
        self.deciding: dict[asyncio.Task[Any], Sender] = {}
        """Alerts being decided, and whose they are; a task lives on when its sender heard 503."""
        self._owners: dict[SignalGroupId, UserId] = {}
        self._turns: WeakValueDictionary[SignalGroupId, asyncio.Lock] = WeakValueDictionary()
        self._floods: dict[tuple[SignalGroupId, Fate], Flood] = {}
        self.told: dict[UUID, Flood] = {}
        """Floods that the last transaction was to log, by the ids of their lines."""

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        self.calendar = TradingCalendar(runtime.settings.market_hours)
        self.limiter = RateLimiter(Redis.from_url(runtime.settings.redis_url, socket_connect_timeout=1))

    def sender(self, webhook: Webhook | None) -> Sender:
        return webhook, self._owners.get(webhook[0]) if webhook else None

    def has_room(self, sender: Sender) -> bool:
        """For one more alert of his."""
        webhook, user_id = sender
        under_way = list(self.deciding.values())
        own = sum(each[0] == webhook for each in under_way)
        of_user = sum(each[1] == user_id for each in under_way) if user_id else own
        return rate.has_room(own, of_user, len(under_way), self.settings.max_in_flight)

    def note_owner(self, group: SignalGroup) -> None:
        """It never changes."""
        if len(self._owners) > _MOST_OWNERS:
            self._owners.clear()
        self._owners[group.group_id] = group.user_id

    def turn(self, group_id: SignalGroupId) -> asyncio.Lock:
        """Alerts of one group queue here, not at its row: there each would hold a connection that other groups need."""
        lock = self._turns.get(group_id)
        if lock is None:
            lock = self._turns[group_id] = asyncio.Lock()
        return lock

    def note_flood(self, group_id: SignalGroupId, fate: Fate, at: datetime, first: Callable[[], Arrival]) -> None:
        """A refusal that is not logged by itself; the `first` of its kind is kept."""
        known = self._floods.get((group_id, fate))
        if known is not None:
            self._floods[group_id, fate] = replace(known, until=at, count=known.count + 1)
        elif len(self._floods) < _MOST_FLOODS:
            self._floods[group_id, fate] = Flood(first(), at)

    def tell_floods(self, kept: Collection[UUID]) -> Mapping[UUID, Flood]:
        """Those since the last call, by the ids of their lines, and what was told then and is not `kept`: the
        transaction that was to keep it has failed.
        """
        for arrival_id, flood in self.told.items():
            if arrival_id not in kept:
                kind = flood.first.group_id, flood.first.fate
                since = self._floods.get(kind)
                self._floods[kind] = flood if since is None else flood.going_on(since)
        self.told, self._floods = {ids.new_id(): flood for flood in self._floods.values()}, {}
        return self.told

    async def close(self) -> None:
        if self.deciding:
            _, late = await asyncio.wait(self.deciding, timeout=5)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.limiter.close()
