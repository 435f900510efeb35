"""One WebSocket client: what it watches, what waits to be sent, and how it catches up when it fell behind.

A client is never sent more than its reading allows: past a bounded queue a channel is only marked as behind, and what
changed meanwhile is read from the projection, as one snapshot, once the queue is empty. Prices wait only as the newest
of each topic. Nothing here is a task: an idle client costs its dictionaries.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

import asyncpg
import orjson

from libs.common.websocket import text_frame
from services.gateway.domain import views
from services.gateway.domain.roles import Identity
from services.gateway.memory.prices import Topic
from services.gateway.memory.quotes import QuoteView
from services.gateway.store import scenes
from services.gateway.store.changes import Channel, Push
from services.gateway.store.rows import told_of_each

TOO_SLOW = 4408


@dataclass(frozen=True, slots=True)
class Patience:
    """How much waits for a client, how long it may take nothing, and how often its screen of quotes is sent."""

    queued: int = 512
    slow_s: float = 10.0
    quotes_every_s: float = 0.1


class Outlet(Protocol):
    """Where a client's frames go."""

    paused_at: float | None
    """Since when it takes nothing more."""
    heard_at: float

    def write(self, frames: bytes) -> None: ...
    def ping(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


def frame(content: dict[str, object]) -> bytes:
    return text_frame(orjson.dumps(content, default=str))


@dataclass(slots=True)
class Watch:
    """A channel of a client: the number of the last change that was queued for it, None before its first snapshot."""

    last: int | None
    behind: bool = True
    loading: bool = False
    meanwhile: list[Push] = field(default_factory=list)


class Client:
    __slots__ = (
        "_catching_up",
        "_patience",
        "_queue",
        "_quotes",
        "fresh",
        "fresh_quotes",
        "identity",
        "instruments",
        "outlet",
        "quotes_at",
        "topics",
        "watches",
    )

    def __init__(self, identity: Identity, outlet: Outlet, quotes: QuoteView, patience: Patience) -> None:
        self.identity = identity
        self.outlet = outlet
        self.watches: dict[Channel, Watch] = {}
        self.instruments: set[str] = set()
        self.topics: set[Topic] = set()
        self.fresh: dict[Topic, bytes] = {}
        """The newest frame of each topic that was not sent yet."""
        self.fresh_quotes: dict[str, None] = {}
        self.quotes_at = 0.0
        """When the next screen of quotes may be sent."""
        self._queue: deque[bytes] | None = None
        self._catching_up = False
        self._quotes = quotes
        self._patience = patience

    @property
    def user_id(self) -> UUID:
        return self.identity.user_id

    def say(self, content: dict[str, object]) -> None:
        """Queue an answer to the client itself."""
        self._put(frame(content))

    def send(self, made: bytes) -> None:
        """Queue a frame that was made elsewhere."""
        self._put(made)

    @property
    def waiting(self) -> int:
        return len(self._queue) if self._queue else 0

    def offer(self, push: Push, now: datetime) -> None:
        watch = self.watches.get(push.channel)
        if watch is None or watch.behind:
            return
        if watch.loading:
            watch.meanwhile.append(push)
            watch.behind = len(watch.meanwhile) > self._patience.queued
            return
        last = watch.last or 0
        if push.seq <= last:
            return
        if push.seq > last + 1 or self.waiting >= self._patience.queued:
            watch.behind = True
        else:
            self._put(self._frame_of(push, now))
            watch.last = push.seq

    def hear(self, channel: Channel, seq: int) -> None:
        """Elsewhere a change of that number was projected."""
        watch = self.watches.get(channel)
        if watch and not watch.behind and not watch.loading and seq > (watch.last or 0):
            watch.behind = True

    def flush(self, now: datetime, at: float) -> Channel | None:
        """Write what waits, if the client takes anything; a channel to catch up with, if there is one.

        One at a time, also of a client that subscribes again and again meanwhile: each asks the database.
        """
        if self.outlet.paused_at is not None:
            return None
        parts: list[bytes] = []
        if self._queue:
            parts.extend(self._queue)
            self._queue = None
        if self.fresh:
            parts.extend(self.fresh.values())
            self.fresh = {}
        if self.fresh_quotes and at >= self.quotes_at:
            self.quotes_at = at + self._patience.quotes_every_s
            parts.extend(self._screen(now))
        if parts:
            self.outlet.write(b"".join(parts))
        if self._catching_up:
            return None
        behind = next((channel for channel, watch in self.watches.items() if watch.behind), None)
        self._catching_up = behind is not None
        return behind

    def _screen(self, now: datetime) -> list[bytes]:
        instruments, self.fresh_quotes = self.fresh_quotes, {}
        shown = self._quotes.show_all(instruments, now)
        return [frame({"type": "event", "channel": "quotes", "data": shown})] if shown else []

    async def catch_up(self, channel: Channel, pool: asyncpg.Pool, now: datetime) -> None:
        """Read what the client does not know; changes that come while it is read are kept for after it."""
        watch = self.watches.get(channel)
        try:
            if watch is not None:
                await self._read(channel, watch, pool, now)
        finally:
            self._catching_up = False

    async def _read(self, channel: Channel, watch: Watch, pool: asyncpg.Pool, now: datetime) -> None:
        watch.behind, watch.loading = False, True
        async with pool.acquire(timeout=5) as connection:
            scene = await scenes.scene(connection, channel, self.user_id, watch.last, now)
        prices = self._quotes.last_prices(now)
        told = await told_of_each(scene.rows, lambda row: views.of_channel(channel, row, prices))
        if self.watches.get(channel) is not watch:
            return
        head = orjson.dumps({"type": "snapshot", "channel": channel, "seq": scene.seq, "since": scene.since})
        self._put(text_frame(b'%b,"data":%b}' % (head[:-1], told)))
        watch.last, watch.loading = scene.seq, False
        meanwhile, watch.meanwhile = watch.meanwhile, []
        for push in meanwhile:
            self.offer(push, now)

    def is_stuck(self, at: float) -> bool:
        """It has taken nothing for so long that nobody should keep anything for it."""
        paused_at = self.outlet.paused_at
        return paused_at is not None and at - paused_at > self._patience.slow_s

    def _put(self, made: bytes) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(made)

    def _frame_of(self, push: Push, now: datetime) -> bytes:
        data = views.of_channel(push.channel, push.row, self._quotes.last_prices(now))
        return frame({"type": "event", "channel": push.channel, "seq": push.seq, "event": push.event, "data": data})
