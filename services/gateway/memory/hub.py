"""The WebSocket clients of this process, by user and by instrument."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from libs.common.clock import Clock
from libs.common.contracts.market import Quote
from libs.common.telemetry import log
from services.gateway.memory.client import Client, Patience, Send
from services.gateway.memory.quotes import QuoteView
from services.gateway.store import scenes
from services.gateway.store.changes import CHANNELS, Changes, Channel


class Hub:
    def __init__(self, pool: asyncpg.Pool, clock: Clock, quotes: QuoteView) -> None:
        self._pool = pool
        self._clock = clock
        self._quotes = quotes
        self.patience = Patience()
        self._clients: dict[UUID, set[Client]] = defaultdict(set)
        self._watchers: dict[str, set[Client]] = defaultdict(set)
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    async def close(self) -> None:
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def join(self, user_id: UUID, send: Send) -> Client:
        client = Client(user_id, send, self._pool, self._clock, self._quotes, self.patience)
        self._clients[user_id].add(client)
        return client

    def leave(self, client: Client) -> None:
        self.unwatch_quotes(client, client.instruments)
        clients = self._clients[client.user_id]
        clients.discard(client)
        if not clients:
            del self._clients[client.user_id]

    def watch_quotes(self, client: Client, instruments: Sequence[str]) -> None:
        """Send the newest quotes at once, and every later one."""
        for instrument in instruments:
            client.instruments.add(instrument)
            self._watchers[instrument].add(client)
            client.quote(instrument)

    def unwatch_quotes(self, client: Client, instruments: "Sequence[str] | set[str]") -> None:
        for instrument in list(instruments):
            client.instruments.discard(instrument)
            watchers = self._watchers.get(instrument)
            if watchers:
                watchers.discard(client)
                if not watchers:
                    del self._watchers[instrument]

    def publish(self, changes: Changes) -> None:
        """Offer what this process projected to everyone whom it concerns."""
        if not self._clients:
            return
        for push in changes.pushes:
            for client in self._clients.get(push.user_id, ()):
                client.offer(push)

    def quoted(self, quotes: Sequence[Quote]) -> None:
        if not self._watchers:
            return
        for quote in quotes:
            for client in self._watchers.get(quote.instrument, ()):
                client.quote(quote.instrument)

    def hear(self, user_id: UUID, channel: Channel, seq: int) -> None:
        for client in self._clients.get(user_id, ()):
            client.hear(channel, seq)

    def catch_up(self) -> None:
        """Look whether other instances projected something of which no message told."""
        if self._clients and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="hub:look")

    async def _look(self) -> None:
        try:
            rows = await scenes.counters(self._pool, list(self._clients))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("hub_look_failed", error=repr(error))
            return
        for row in rows:
            for channel in CHANNELS:
                self.hear(row["user_id"], channel, row[channel])
