"""Risk's tables from what risk and trading said. Nothing is decided here: a decision is taken as it was told."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.enums import BreachKind
from libs.common.contracts.ids import CorrelationId
from libs.common.contracts.orders import OrderCleared, OrderDenied, OrderModifyCleared
from libs.common.contracts.risk import MTMBreached, RiskLimitDeleted, RiskLimitSaved, WatchMoved
from libs.common.service import Context
from services.risk.domain import ledger, orders
from services.risk.domain.instruments import trading_day
from services.risk.memory import RiskMemory
from services.risk.store import RiskStore, rebuild

RiskContext = Context[RiskStore, RiskMemory]


async def cleared(event: OrderCleared, ctx: RiskContext) -> Sequence[Message]:
    store = ctx.store
    reservation = orders.reserve(event, ctx.cause.time)
    store.reservations.save(reservation)
    store.save_ledger(ledger.post(store.ledger_of(event), None, reservation))
    store.remember(event, store.limits_of(event), ctx.cause.time)
    return []


async def denied(event: OrderDenied, ctx: RiskContext) -> Sequence[Message]:
    """Kept, so that the id is never decided again: risk's own refusal, and an exit that trading gave up before it was
    decided, and that may wait for us still. Trading's ends an order that was cleared.
    """
    order = ctx.store.reservations.get(event.order_id)
    if order is None:
        ctx.store.reservations.save(orders.reserve(event, ctx.cause.time))
    elif order is not None and not order.closed:
        ended = ledger.close(order)
        ctx.store.reservations.save(ended)
        ctx.store.save_ledger(ledger.post(ctx.store.ledger_of(order), order, ended))
    return []


async def change_cleared(event: OrderModifyCleared, ctx: RiskContext) -> Sequence[Message]:
    order = ctx.store.reservations.get(event.order_id)
    if order is not None:
        story = CorrelationId(ctx.cause.correlation_id)
        changed = ledger.propose(order, orders.footprint_of(event), event.epoch, story)
        ctx.store.reservations.save(changed)
        ctx.store.save_ledger(ledger.post(ctx.store.ledger_of(order), order, changed))
    return []


async def limit_saved(event: RiskLimitSaved, ctx: RiskContext) -> Sequence[Message]:
    await ctx.store.save_limit(event.limit, event.version, trading_day(ctx.cause.time))
    return []


async def limit_deleted(event: RiskLimitDeleted, ctx: RiskContext) -> Sequence[Message]:
    await ctx.store.delete_limit(event.limit_id)
    await rebuild.limit_was_deleted(ctx.store.connection, event, ctx.cause.time)
    return []


async def breached(event: MTMBreached, ctx: RiskContext) -> Sequence[Message]:
    await rebuild.breach(ctx.store.connection, event)
    return []


async def watch_moved(event: WatchMoved, ctx: RiskContext) -> Sequence[Message]:
    await rebuild.move_watch(ctx.store.connection, event)
    if event.kind is BreachKind.TRAILING_STOP:
        await ctx.store.watches.begin_day(event.day, event.limit_id)
    return []
