"""What the venue knows without asking: the market of every instrument, the contracts, and which open orders
a tick could concern.

What it knows of open orders is a hint that may lag behind their rows; the rows decide.
"""

import asyncio
import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from libs.common.clock import Clock
from libs.common.contracts.enums import InstrumentKind
from libs.common.contracts.ids import InstrumentId, OrderId
from libs.common.contracts.market import InstrumentListed, Tick
from libs.common.service import Memory
from libs.common.settings import CommonSettings, load
from libs.common.trading_calendar import MarketSession, TradingCalendar
from services.walkforward.domain.market import INFINITY, Listing, Market, Turnover, fold, market_of, turnover_of
from services.walkforward.domain.orders import Order
from services.walkforward.domain.watch import Watch
from services.walkforward.settings import WalkforwardSettings
from services.walkforward.store import WalkforwardStore

if TYPE_CHECKING:
    from libs.common.runtime import Runtime

LOOKS_KEPT = 32
"""Looks at one instrument that may wait; after that the oldest are folded into one."""
EARLY_KEPT = 1_000
"""Looks at an instrument whose contract is not learned yet: what it did in the seconds before a start."""


EVER = datetime(2000, 1, 1, tzinfo=UTC)


class Look:
    """A tick that came, and what paper orders left of it. Its Decimal market is made when an order asks.

    Of several that were folded into one it has the newest tick, which does not tell of the others.
    """

    __slots__ = ("_folded", "market", "tick", "turnover")

    def __init__(self, tick: Tick, folded: Market | None = None, turnover: Turnover | None = None) -> None:
        self.tick = tick
        self.turnover = turnover
        self.market = self._folded = folded

    def give_back(self) -> None:
        """What was taken of it was not taken."""
        self.market = self._folded


def _came(look: Look) -> datetime:
    return look.tick.received_at


@dataclass(slots=True)
class Stir:
    """Orders of one instrument that must be decided on, and the looks to decide them on."""

    looks: list[Look] = field(default_factory=list)
    order_ids: set[OrderId] = field(default_factory=set)

    def in_order(self) -> list[Look]:
        return sorted(set(self.looks), key=_came)


class WalkforwardMemory(Memory):
    def __init__(self, settings: WalkforwardSettings | None = None, calendar: TradingCalendar | None = None) -> None:
        self.settings = settings or load(WalkforwardSettings)
        self.calendar = calendar or TradingCalendar(load(CommonSettings).market_hours)
        self.learned_at = EVER
        """When it last asked which orders are open, whoever took them."""
        self._model = self.settings.fill_model
        self._listings: dict[InstrumentId, Listing] = {}
        self._shared: dict[Listing, Listing] = {}
        self._futures: dict[InstrumentId, set[InstrumentId]] = {}
        """Those listed today on each stock: with them, its day ends by a closing auction."""
        self._looks: dict[InstrumentId, Look] = {}
        self._watches: dict[InstrumentId, Watch] = {}
        self._uncommitted: dict[OrderId, Order] = {}
        self._meanwhile: dict[InstrumentId, list[Look]] = {}
        self._stirs: dict[InstrumentId, Stir] = {}
        self._activations: list[tuple[datetime, OrderId, InstrumentId]] = []
        self._stirred = asyncio.Event()
        self._unlisted: dict[InstrumentId, list[Order]] = {}
        """Orders that were open at the start and whose contracts are not learned yet: without its tick size no price
        tells whether a tick concerns an order, and all of them would be decided on at once.
        """
        self._early: dict[InstrumentId, deque[Look]] = {}

    async def open(self, runtime: "Runtime[WalkforwardStore, WalkforwardMemory]") -> None:
        """Orders that were open when the process ended are watched again once their contracts are learned."""
        now = runtime.clock.now()
        async with runtime.pool.acquire() as connection:
            for order in await WalkforwardStore(connection).open_orders():
                self._unlisted.setdefault(order.instrument, []).append(order)
        self.learned_at = now

    # Contracts

    def learn(self, contract: InstrumentListed) -> None:
        listing = Listing(contract.exchange, contract.lot_size, contract.tick_size, contract.tradable, contract.expiry)
        self._listings[contract.instrument] = self._shared.setdefault(listing, listing)
        if contract.kind is InstrumentKind.FUTURE and contract.spot is not None:
            futures = self._futures.setdefault(contract.spot, set())
            (futures.discard if contract.delisted else futures.add)(contract.instrument)
        if contract.delisted:
            self._looks.pop(contract.instrument, None)  # of each that ever ticked it would stay, with its book
        if contract.instrument in self._unlisted:
            self._begin(contract.instrument)

    def _begin(self, instrument: InstrumentId) -> None:
        """Watch what was open at the start, and show it the ticks that came meanwhile."""
        for order in self._unlisted.pop(instrument):
            if not self.is_watched(instrument, order.order_id):
                self._put(order)
        for look in self._early.pop(instrument, ()):
            self._meet(look)

    def listing(self, instrument: InstrumentId) -> Listing | None:
        return self._listings.get(instrument)

    def session(self, instrument: InstrumentId, now: datetime) -> MarketSession | None:
        listing = self._listings.get(instrument)
        if listing is None:
            return None
        day = self.calendar.trading_day(now)
        has_futures = bool(self._futures.get(instrument))
        return self.calendar.session(listing.exchange, day, has_futures, last_day=listing.expiry == day)

    # Markets

    def see(self, tick: Tick) -> None:
        """A tick: the newest look at its instrument, and work for the orders that it could concern."""
        before = self._looks.get(tick.instrument)
        look = Look(tick, turnover=turnover_of(tick, before.tick) if before else None)
        self._looks[tick.instrument] = look
        if tick.instrument in self._unlisted:
            self._early.setdefault(tick.instrument, deque(maxlen=EARLY_KEPT)).append(look)
        meanwhile = self._meanwhile.get(tick.instrument)
        if meanwhile is not None:
            self._add(meanwhile, look)
        self._meet(look)

    def _meet(self, look: Look) -> None:
        instrument = look.tick.instrument
        watch = self._watches.get(instrument)
        if watch is not None:
            listing = self._listings.get(instrument)
            through = float(listing.tick_size) if look.turnover and listing else INFINITY
            order_ids = watch.stirred_by(look.tick, self._half_spread(instrument), through)
            if order_ids:
                self._stir(instrument, [look], order_ids)

    def market(self, instrument: InstrumentId, now: datetime) -> Market | None:
        """The newest market that can be believed."""
        look = self._looks.get(instrument)
        market = self.market_at(look) if look else None
        return market if market and market.is_fresh(now, self.settings.stale_after) else None

    def market_at(self, look: Look) -> Market | None:
        if look.market is None:
            listing = self._listings.get(look.tick.instrument)
            if listing is None:
                return None
            look.market = market_of(look.tick, listing, self._model, look.turnover)
        return look.market

    def leave(self, instrument: InstrumentId, market: Market) -> None:
        """What an order left of the newest market."""
        self._looks[instrument].market = market

    # Orders

    def decided(self, order: Order) -> None:
        """A handler decided on this order; it counts when the batch commits. Ticks until then are kept for it."""
        self._uncommitted[order.order_id] = order
        self._meanwhile.setdefault(order.instrument, [])

    def commit(self, now: datetime) -> None:
        """The batch is committed: watch its orders, and show them the ticks that came meanwhile."""
        for order in self._uncommitted.values():
            self.watch(order, now)
            looks = self._meanwhile[order.instrument]
            if order.is_open and looks:
                self._stir(order.instrument, looks, {order.order_id})
        self._uncommitted.clear()
        self._meanwhile.clear()

    def watch(self, order: Order, now: datetime) -> None:
        self._put(order)
        if order.is_open and order.active_from > now:
            heapq.heappush(self._activations, (order.active_from, order.order_id, order.instrument))
            self._stirred.set()

    def is_watched(self, instrument: InstrumentId, order_id: OrderId, executions: int = 0) -> bool:
        """As it is since it had so many executions."""
        watch = self._watches.get(instrument)
        return watch is not None and watch.knows(order_id, executions)

    def watch_from_now(self, order: Order, now: datetime) -> None:
        """An order that another instance took or changed: watch it, beginning with the market as it is."""
        self.watch(order, now)
        self._stir_latest(order.instrument, order.order_id)

    def forget(self, instrument: InstrumentId, order_id: OrderId) -> None:
        watch = self._watches.get(instrument)
        if watch is not None:
            watch.drop(order_id)
            if not watch:
                del self._watches[instrument]

    def watched(self) -> int:
        return sum(map(len, self._watches.values()))

    def watched_orders(self) -> dict[OrderId, InstrumentId]:
        return {order_id: instrument for instrument, watch in self._watches.items() for order_id in watch}

    # Work

    @property
    def is_stirred(self) -> bool:
        return bool(self._stirs)

    async def stirred(self, clock: Clock, instruments: int) -> dict[InstrumentId, Stir]:
        """Wait until some order must be decided on; the work, of so many instruments at most."""
        while True:
            self._activate(clock.now())
            if self._stirs:
                chosen = list(self._stirs)[:instruments]
                return {instrument: self._stirs.pop(instrument) for instrument in chosen}
            self._stirred.clear()
            wait = (self._activations[0][0] - clock.now()).total_seconds() if self._activations else None
            try:
                async with asyncio.timeout(wait):
                    await self._stirred.wait()
            except TimeoutError:
                continue

    def stir_again(self, stirs: dict[InstrumentId, Stir]) -> None:
        """Work that could not be done; what it took from the markets was not taken."""
        for instrument, stir in stirs.items():
            for look in stir.looks:
                look.give_back()
            self._stir(instrument, stir.looks, stir.order_ids)

    def _activate(self, now: datetime) -> None:
        """Orders whose latency is over meet the market as it is now."""
        while self._activations and self._activations[0][0] <= now:
            _, order_id, instrument = heapq.heappop(self._activations)
            self._stir_latest(instrument, order_id)

    def _stir_latest(self, instrument: InstrumentId, order_id: OrderId) -> None:
        look = self._looks.get(instrument)
        if look is not None:
            self._stir(instrument, [look], {order_id})

    def _stir(self, instrument: InstrumentId, looks: Iterable[Look], order_ids: Iterable[OrderId]) -> None:
        stir = self._stirs.setdefault(instrument, Stir())
        for look in looks:
            self._add(stir.looks, look)
        stir.order_ids.update(order_ids)
        self._stirred.set()

    def _add(self, looks: list[Look], look: Look) -> None:
        """In the order in which they came: work that failed is put back behind what came meanwhile."""
        insort(looks, look, key=_came)
        if len(looks) > LOOKS_KEPT:
            looks[:2] = [self._folded(looks[0], looks[1])]

    def _folded(self, older: Look, newer: Look) -> Look:
        before, after = self.market_at(older), self.market_at(newer)
        return Look(newer.tick, fold(before, after) if before and after else None)

    def _put(self, order: Order) -> None:
        listing = self._listings.get(order.instrument)
        watch = self._watches.setdefault(order.instrument, Watch())
        watch.put(order, listing.tick_size if listing else None)
        if not watch:
            del self._watches[order.instrument]

    def _half_spread(self, instrument: InstrumentId) -> float:
        if not self.settings.half_spread_ticks:
            return 0.0
        listing = self._listings.get(instrument)
        return float(listing.tick_size) * self.settings.half_spread_ticks if listing else 0.0
