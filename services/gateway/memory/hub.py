"""The WebSocket clients of this process, by user and by what they watch; one pump writes for all of them."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable, Sequence
from uuid import UUID

import asyncpg

from libs.common.clock import Clock
from libs.common.contracts.market import Depth, Quote
from libs.common.contracts.options import ChainConflated
from libs.common.database import FAILURES
from libs.common.telemetry import log
from services.gateway.domain.roles import Identity
from services.gateway.memory.client import TOO_SLOW, Client, Outlet, Patience, Watch
from services.gateway.memory.prices import ChainTopic, Prices, Topic, Watcher
from services.gateway.memory.quotes import QuoteView
from services.gateway.memory.turns import Turns
from services.gateway.store import scenes
from services.gateway.store.changes import CHANNELS, Changes, Channel

PRICES_S = 0.01
"""How long the first of several prices may wait for the others: they go out in one write."""
SWEEP_S = 1.0
SILENT_S = 20.0
"""A client of which nothing was heard for so long is asked whether it lives, and given as long to answer."""


class Hub:
    def __init__(self, pool: asyncpg.Pool, clock: Clock, quotes: QuoteView, turns: Turns) -> None:
        self._pool = pool
        self._turns = turns
        self._clock = clock
        self._quotes = quotes
        self.prices = Prices(quotes)
        self.patience = Patience()
        self._clients: dict[UUID, set[Client]] = defaultdict(set)
        self.screens: dict[str, set[Client]] = defaultdict(set)
        """By instrument, who is shown its newest quote ten times a second."""
        self._dirty: set[Client] = set()
        self._pump: asyncio.TimerHandle | asyncio.Handle | None = None
        self._pump_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._pinged: set[Client] = set()

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    async def close(self) -> None:
        tasks = [*self._tasks, *filter(None, (self._looking, self._sweeper))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._pump:
            self._pump.cancel()

    def connections(self, user_id: UUID) -> int:
        return len(self._clients.get(user_id, ()))

    def clients_of(self, user_id: UUID) -> Collection[Client]:
        return self._clients.get(user_id, ())

    def clients(self) -> list[Client]:
        return [client for clients in self._clients.values() for client in clients]

    def join(self, identity: Identity, outlet: Outlet) -> Client:
        client = Client(identity, outlet, self._quotes, self.patience)
        self._clients[client.user_id].add(client)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="hub:sweep")
        return client

    def leave(self, client: Client) -> None:
        self.unwatch_quotes(client, client.instruments)
        self.unwatch_topics(client, client.topics)
        self._dirty.discard(client)
        self._pinged.discard(client)
        clients = self._clients[client.user_id]
        clients.discard(client)
        if not clients:
            del self._clients[client.user_id]

    def wake(self, client: Client, within: float = 0.0) -> None:
        """Something waits for this client."""
        self._dirty.add(client)
        self._run_pump(within)

    def watch(self, client: Client, channel: Channel, since: int | None) -> None:
        """Begin (again) with what was missed since a number, or with a snapshot."""
        client.watches[channel] = Watch(since)
        self.wake(client)

    def watch_quotes(self, client: Client, instruments: Sequence[str]) -> None:
        """Send the newest quotes at once, and every later one, as screens."""
        for instrument in instruments:
            client.instruments.add(instrument)
            self.screens[instrument].add(client)
            client.fresh_quotes[instrument] = None
        if instruments:
            self.wake(client)

    def unwatch_quotes(self, client: Client, instruments: Collection[str]) -> None:
        for instrument in list(instruments):
            client.instruments.discard(instrument)
            watchers = self.screens.get(instrument)
            if watchers:
                watchers.discard(client)
                if not watchers:
                    del self.screens[instrument]

    def watch_topics(self, client: Client, topics: Iterable[Topic]) -> None:
        """Every later update; what there is already the client has been told (or a chain will tell it)."""
        for topic in topics:
            client.topics.add(topic)
            topic.watchers.add(client)

    def unwatch_topics(self, client: Client, topics: Collection[Topic]) -> None:
        for topic in list(topics):
            client.topics.discard(topic)
            client.fresh.pop(topic, None)
            topic.watchers.discard(client)
            if isinstance(topic, ChainTopic):
                topic.expecting.discard(client)
            if not topic.watchers:
                self.prices.forget(topic)

    def publish(self, changes: Changes) -> None:
        """Offer what this process projected to everyone whom it concerns."""
        if not self._clients:
            return
        now = self._clock.now()
        for push in changes.pushes:
            for client in self._clients.get(push.user_id, ()):
                client.offer(push, now)
                self.wake(client)

    def quoted(self, quotes: Sequence[Quote]) -> None:
        self._touch(self.prices.quoted(quotes, self._clock.now()))
        if not self.screens:
            return
        for quote in quotes:
            for client in self.screens.get(quote.instrument, ()):
                client.fresh_quotes[quote.instrument] = None
                self._dirty.add(client)
        self._run_pump(PRICES_S)

    def deepened(self, depths: Sequence[Depth]) -> None:
        self._touch(self.prices.deepened(depths, self._clock.now()))

    def chained(self, chains: Sequence[ChainConflated]) -> None:
        now = self._clock.now()
        for chain in chains:
            self._touch(self.prices.chained(chain, now))

    def hear(self, user_id: UUID, channel: Channel, seq: int) -> None:
        for client in self._clients.get(user_id, ()):
            client.hear(channel, seq)
            self.wake(client)

    def catch_up(self) -> None:
        """Look whether other instances projected something of which no message told."""
        if self._clients and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="hub:look")

    def _touch(self, touched: set[Watcher]) -> None:
        if touched:
            self._dirty |= touched  # type: ignore[arg-type]  # only clients watch
            self._run_pump(PRICES_S)

    def _run_pump(self, within: float) -> None:
        """Once, at the earliest moment that anybody asked for."""
        loop = asyncio.get_running_loop()
        at = loop.time() + within
        if self._pump is not None:
            if self._pump_at <= at:
                return
            self._pump.cancel()
        self._pump_at = at
        self._pump = loop.call_later(within, self._write) if within > 0 else loop.call_soon(self._write)

    def _write(self) -> None:
        self._pump = None
        dirty, self._dirty = self._dirty, set()
        now, at = self._clock.now(), asyncio.get_running_loop().time()
        soonest = at + self.patience.quotes_every_s
        for client in dirty:
            behind = client.flush(now, at)
            if behind is not None:
                self._own(self._catch_up(client, behind))
            elif client.fresh_quotes and client.outlet.paused_at is None:
                self._dirty.add(client)
                soonest = min(soonest, client.quotes_at)
        if self._dirty:
            self._run_pump(max(soonest - at, 0.001))

    async def _catch_up(self, client: Client, channel: Channel) -> None:
        try:
            async with self._turns.turn_of_stream(client.identity):
                if client in self.clients_of(client.user_id):
                    await client.catch_up(channel, self._pool, self._clock.now())
        except FAILURES as error:
            log.warning("stream_failed", error=repr(error))
            client.outlet.close(1011, "this is a fault of ours; reconnect with since")
        else:
            self.wake(client)

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name="hub:catch-up")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep(self) -> None:
        """Drop who takes nothing, ask who says nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(SWEEP_S, self.patience.slow_s / 2))
            self.sweep(loop.time())

    def sweep(self, at: float) -> None:
        for client in self.clients():
            silent = at - client.outlet.heard_at
            if client.is_stuck(at):
                client.outlet.close(TOO_SLOW, "you do not read as fast as you are sent to; reconnect with since")
            elif silent < SILENT_S:
                self._pinged.discard(client)
            elif silent > 2 * SILENT_S and client in self._pinged:
                client.outlet.close(1011, "no answer to a ping")
            elif client not in self._pinged:
                self._pinged.add(client)
                client.outlet.ping()

    async def _look(self) -> None:
        try:
            rows = await scenes.counters(self._pool, list(self._clients))
        except FAILURES as error:
            log.warning("hub_look_failed", error=repr(error))
            return
        for row in rows:
            for channel in CHANNELS:
                self.hear(row["user_id"], channel, row[channel])
