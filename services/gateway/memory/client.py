"""One WebSocket client: what it watches, what waits to be sent, and how it catches up when it fell behind.

A client is never sent more than its reading allows: past a bounded queue a channel is only marked as behind, and what
changed meanwhile is read from the projection, as one snapshot, once the queue is empty.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import orjson

from libs.common.clock import Clock
from services.gateway.domain import views
from services.gateway.memory.quotes import QuoteView
from services.gateway.store import scenes
from services.gateway.store.changes import Channel, Push

TOO_SLOW = 4408

Send = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How much waits for a client, how long one frame may take, and how often quotes are sent."""

    queued: int = 512
    slow_s: float = 10.0
    quotes_every_s: float = 0.1


class TooSlow(Exception):
    """The client did not take a frame in time."""


def frame(content: dict[str, object]) -> str:
    return orjson.dumps(content, default=str).decode()


@dataclass(slots=True)
class Watch:
    """A channel of a client: the number of the last change that was queued for it, None before its first snapshot."""

    last: int | None
    behind: bool = True
    loading: bool = False
    meanwhile: list[Push] = field(default_factory=list)


class Client:
    def __init__(
        self, user_id: UUID, send: Send, pool: asyncpg.Pool, clock: Clock, quotes: QuoteView, patience: Patience
    ) -> None:
        self.user_id = user_id
        self.watches: dict[Channel, Watch] = {}
        self.instruments: set[str] = set()
        self._send_text = send
        self._pool = pool
        self._clock = clock
        self._quotes = quotes
        self._patience = patience
        self._queue: deque[str] = deque()
        self._fresh_quotes: dict[str, None] = {}
        self._wake = asyncio.Event()

    def watch(self, channel: Channel, since: int | None) -> None:
        """Begin (again) with what was missed since a number, or with a snapshot."""
        self.watches[channel] = Watch(since)
        self._wake.set()

    def say(self, content: dict[str, object]) -> None:
        """Queue an answer to the client itself; one that asks without reading is too slow."""
        if len(self._queue) >= 2 * self._patience.queued:
            raise TooSlow
        self._queue.append(frame(content))
        self._wake.set()

    def offer(self, push: Push) -> None:
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
        if push.seq > last + 1 or len(self._queue) >= self._patience.queued:
            watch.behind = True
        else:
            self._queue.append(self._frame_of(push))
            watch.last = push.seq
        self._wake.set()

    def hear(self, channel: Channel, seq: int) -> None:
        """Elsewhere a change of that number was projected."""
        watch = self.watches.get(channel)
        if watch and not watch.behind and not watch.loading and seq > (watch.last or 0):
            watch.behind = True
            self._wake.set()

    def quote(self, instrument: str) -> None:
        self._fresh_quotes[instrument] = None
        self._wake.set()

    async def write(self) -> None:
        """Send what there is, for as long as the client lives."""
        loop = asyncio.get_running_loop()
        quotes_at = 0.0
        while True:
            if self._fresh_quotes and not self._queue:
                await self._wake_within(quotes_at - loop.time())
            else:
                await self._wake.wait()
            self._wake.clear()
            await self._write_queue()
            for channel, watch in list(self.watches.items()):
                if watch.behind:
                    await self._catch_up(channel, watch)
            if self._fresh_quotes and loop.time() >= quotes_at:
                quotes_at = loop.time() + self._patience.quotes_every_s
                await self._write_quotes("event")
            if self._queue:
                self._wake.set()

    async def _wake_within(self, seconds: float) -> None:
        """Wait for something more urgent than quotes, until quotes may be sent again."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                while not self._queue and not any(watch.behind for watch in self.watches.values()):
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return

    async def _write_queue(self) -> None:
        while self._queue:
            await self._send(self._queue.popleft())

    async def _write_quotes(self, kind: str) -> None:
        instruments, self._fresh_quotes = self._fresh_quotes, {}
        shown = self._quotes.show_all(instruments, self._clock.now())
        if shown:
            await self._send(frame({"type": kind, "channel": "quotes", "data": shown}))

    async def _catch_up(self, channel: Channel, watch: Watch) -> None:
        """Read what the client does not know; changes that come while it is read and sent are kept for after it."""
        watch.behind, watch.loading = False, True
        async with self._pool.acquire(timeout=5) as connection:
            scene = await scenes.scene(connection, channel, self.user_id, watch.last, self._clock.now())
        rows = [views.of_channel(channel, row, self._quotes.ltp) for row in scene.rows]
        content = {"type": "snapshot", "channel": channel, "seq": scene.seq, "since": scene.since, "data": rows}
        await self._send(frame(content))
        watch.last, watch.loading = scene.seq, False
        meanwhile, watch.meanwhile = watch.meanwhile, []
        for push in meanwhile:
            self.offer(push)

    async def _send(self, text: str) -> None:
        try:
            async with asyncio.timeout(self._patience.slow_s):
                await self._send_text(text)
        except TimeoutError as error:
            raise TooSlow from error

    def _frame_of(self, push: Push) -> str:
        data = views.of_channel(push.channel, push.row, self._quotes.ltp)
        return frame({"type": "event", "channel": push.channel, "seq": push.seq, "event": push.event, "data": data})
