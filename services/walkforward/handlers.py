"""The order road: load, decide, save, say. An order that can trade on arrival does so here, in the same batch."""

from collections.abc import Sequence

from libs.common.contracts.base import GIVEN_UP, Delivery
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.venue import (
    ExecutionReported,
    VenueCancelRequested,
    VenueModifyRequested,
    VenueOrderRequested,
)
from libs.common.runtime import Runtime
from libs.common.service import Context
from services.walkforward.domain import requests
from services.walkforward.domain.matching import meet
from services.walkforward.domain.orders import Change
from services.walkforward.memory import WalkforwardMemory
from services.walkforward.store import WalkforwardStore

Ctx = Context[WalkforwardStore, WalkforwardMemory]


async def take_order(request: VenueOrderRequested, ctx: Ctx) -> Sequence[ExecutionReported]:
    """The same order acts once, however often it arrives."""
    if ctx.store.order(request.order_id) is not None:
        return []
    listing = ctx.memory.listing(request.instrument)
    session = ctx.memory.session(request.instrument, ctx.now)
    change = requests.arrive(request, listing, session, ctx.now, ctx.memory.settings.latency)
    if ctx.store.was_cancelled_early(request.order_id, request.account_id):
        change = requests.arrive_cancelled(change.order, ctx.now)
    return _keep(_meet(change, ctx), ctx)


async def modify_order(request: VenueModifyRequested, ctx: Ctx) -> Sequence[ExecutionReported]:
    order = ctx.store.order(request.order_id)
    session = ctx.memory.session(request.instrument, ctx.now)
    waited = ctx.now - ctx.cause.time
    change = requests.waited_too_long(waited) or requests.modify(
        order, request, ctx.memory.listing(request.instrument), session, ctx.now
    )
    if isinstance(change, str):
        reference = str(ctx.derive("refused"))
        return [requests.refuse(ExecutionKind.MODIFY_REJECTED, request, order, change, reference, ctx.now)]
    return _keep(_meet(change, ctx), ctx)


async def cancel_order(request: VenueCancelRequested, ctx: Ctx) -> Sequence[ExecutionReported]:
    """A cancel may overtake its order, whose sender died or was stopped in between: it holds when the order comes."""
    order = ctx.store.order(request.order_id)
    if order is None:
        ctx.store.cancel_early(request.order_id, request.account_id, ctx.now)
    change = requests.cancel(order, request, ctx.now)
    if isinstance(change, str):
        reference = str(ctx.derive("refused"))
        return [requests.refuse(ExecutionKind.CANCEL_REJECTED, request, order, change, reference, ctx.now)]
    return _keep(change, ctx)


async def give_up_order(request: VenueOrderRequested, ctx: Ctx) -> Sequence[ExecutionReported]:
    """A person discarded it: trading hears that the venue does not have it, and frees what it blocks."""
    if ctx.store.order(request.order_id) is not None:
        return []
    reference = str(ctx.derive("given up"))
    return [requests.refuse(ExecutionKind.REJECTED, request, None, GIVEN_UP, reference, ctx.now)]


async def give_up_change(request: VenueModifyRequested | VenueCancelRequested, ctx: Ctx) -> Sequence[ExecutionReported]:
    is_change = isinstance(request, VenueModifyRequested)
    kind = ExecutionKind.MODIFY_REJECTED if is_change else ExecutionKind.CANCEL_REJECTED
    order, reference = ctx.store.order(request.order_id), str(ctx.derive("given up"))
    return [requests.refuse(kind, request, order, GIVEN_UP, reference, ctx.now)]


async def watch_committed(_: Sequence[Delivery], runtime: Runtime[WalkforwardStore, WalkforwardMemory]) -> None:
    """What the batch decided is true now."""
    runtime.memory.commit(runtime.clock.now())


def _meet(change: Change, ctx: Ctx) -> Change:
    """Show the order the market that memory knows."""
    order = change.order
    market = ctx.memory.market(order.instrument, ctx.now) if order.is_open else None
    if market is None:
        return change.then(requests.without_market(order, ctx.now))
    met = meet(order, market, ctx.now)
    ctx.memory.leave(order.instrument, met.market)
    return change.then(met.change)


def _keep(change: Change, ctx: Ctx) -> Sequence[ExecutionReported]:
    ctx.store.save(change.order)
    ctx.memory.decided(change.order)
    return change.executions
