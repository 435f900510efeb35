"""What a gateway process may forget: who waits, who watches, who was recognised, the newest quotes."""

import asyncio
from typing import TYPE_CHECKING, Any

from libs.common.service import Memory
from libs.common.settings import CommonSettings, load
from libs.common.trading_calendar import TradingCalendar
from services.gateway.memory.admission import Admission
from services.gateway.memory.cache import Cache
from services.gateway.memory.hub import Hub
from services.gateway.memory.looks import Looks
from services.gateway.memory.passwords import Passwords
from services.gateway.memory.quotes import QuoteView
from services.gateway.memory.siblings import Siblings
from services.gateway.memory.spelling import Spelling
from services.gateway.memory.turns import Turns
from services.gateway.memory.waiters import Waiters
from services.gateway.memory.watching import Watching
from services.gateway.settings import GatewaySettings
from services.gateway.store import GatewayStore, outcomes, queries
from services.gateway.store.changes import Changes
from services.gateway.store.outcomes import Ending
from services.gateway.store.rows import Row

if TYPE_CHECKING:
    from libs.common.runtime import Runtime


class GatewayMemory(Memory):
    settings: GatewaySettings
    cache: Cache
    hub: Hub
    orders: Looks[Row]
    endings: Looks[Ending]
    siblings: Siblings
    watching: Watching
    edge: object
    """What routes and streams stand on: the entrance makes it (`api.edge.edge_in`)."""
    passwords: Passwords
    turns: Turns

    def __init__(self) -> None:
        self.calendar = TradingCalendar(load(CommonSettings).market_hours)
        self.quotes = QuoteView(self.calendar)
        self.spelling = Spelling()
        self.waiters = Waiters()
        self.admission = Admission()
        self.conversing: set[asyncio.Task[None]] = set()
        """What WebSocket clients asked for and is being answered."""
        self._batch: GatewayStore | None = None

    async def open(self, runtime: "Runtime[Any, Any]") -> None:
        self.settings = load(GatewaySettings)
        self.cache = Cache(runtime.settings.redis_url)
        self.passwords = Passwords(self.settings.password_pepper)
        self.turns = Turns(self.settings.requests_at_once, self.settings.requests, self.settings.request_window_s)
        self.orders = Looks(runtime.pool, queries.orders_by_id)
        self.endings = Looks(runtime.pool, outcomes.endings)
        self.hub = Hub(runtime.pool, runtime.clock, self.quotes, self.turns)
        self.watching = Watching(
            runtime.publish_bulk,
            self.hub.prices,
            self.hub.screens,
            runtime.clock,
            f"gateway-{runtime.settings.instance_id}",
        )
        await self.watching.open()
        self.siblings = Siblings(self.cache, self.waiters, self.hub)
        await self.siblings.open()

    async def close(self) -> None:
        for task in list(self.conversing):
            task.cancel()
        await self.watching.close()
        await self.hub.close()
        await self.orders.close()
        await self.endings.close()
        await self.siblings.close()
        await self.cache.close()

    def follow(self, store: GatewayStore) -> GatewayStore:
        """Remember the store of the batch in hand, so that its changes can be told once they are committed."""
        self._batch = store
        return store

    def take_changes(self) -> Changes | None:
        """What the batch that was just committed has changed."""
        batch, self._batch = self._batch, None
        return batch.changes if batch else None
