"""The tick road: ticks and contracts into memory, and what they do to resting orders."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from libs.common.contracts.ids import InstrumentId, OrderId
from libs.common.contracts.market import InstrumentListed, Tick
from libs.common.database import FAILURES
from libs.common.runtime import Runtime, Unit
from libs.common.telemetry import log
from services.walkforward.domain.matching import believes, sweep
from services.walkforward.domain.orders import Order
from services.walkforward.memory import Stir, WalkforwardMemory
from services.walkforward.store import WalkforwardStore

INSTRUMENTS_AT_ONCE = 200


async def learn_contracts(contracts: Sequence[InstrumentListed], memory: WalkforwardMemory) -> None:
    for contract in contracts:
        memory.learn(contract)


async def see_ticks(ticks: Sequence[Tick], memory: WalkforwardMemory) -> None:
    for tick in ticks:
        memory.see(tick)


async def match_resting(runtime: Runtime[WalkforwardStore, WalkforwardMemory]) -> None:
    """Decide, for ever, on the orders that ticks stirred. What piles up meanwhile is decided together."""
    while True:
        stirs = await runtime.memory.stirred(runtime.clock, INSTRUMENTS_AT_ONCE)
        try:
            await decide(stirs, runtime)
        except FAILURES as error:
            log.warning("matching_waits", instruments=len(stirs), error=repr(error))
            runtime.memory.stir_again(stirs)
            await asyncio.sleep(0.5)


async def decide(stirs: dict[InstrumentId, Stir], runtime: Runtime[WalkforwardStore, WalkforwardMemory]) -> None:
    """Lock the stirred orders and decide on their rows: whoever holds them now, here or elsewhere, goes first."""
    async with runtime.transaction() as unit:
        wanted = {order_id for stir in stirs.values() for order_id in stir.order_ids}
        found: dict[InstrumentId, dict[OrderId, Order]] = defaultdict(dict)
        for order in await unit.store.lock(wanted):
            found[order.instrument][order.order_id] = order
        for instrument, stir in stirs.items():
            _match(stir, found[instrument], runtime.memory, unit)
    for instrument, stir in stirs.items():
        for order_id in stir.order_ids:
            known = found[instrument].get(order_id)
            if known is None:
                runtime.memory.forget(instrument, order_id)
            else:
                runtime.memory.watch(known, unit.now)


def _match(
    stir: Stir,
    orders: dict[OrderId, Order],
    memory: WalkforwardMemory,
    unit: Unit[WalkforwardStore, WalkforwardMemory],
) -> None:
    """Let an instrument's orders meet its looks, in the order in which they came."""
    for look in stir.in_order():
        market = memory.market_at(look)
        if market is None:
            continue
        believing = [order for order in orders.values() if believes(order, market, memory.settings.stale_after)]
        swept = sweep(believing, market, unit.now)
        look.market = swept.market
        for order in swept.orders:
            orders[order.order_id] = order
            unit.store.save(order)
        unit.say(*swept.executions)
