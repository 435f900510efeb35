"""Orders, fills, positions and funds."""

from collections.abc import Sequence
from typing import TypeAlias

from libs.common.contracts.base import Message
from libs.common.contracts.brokers import PositionsCompared
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRefused,
    OrderDenied,
    OrderExpired,
    OrderModified,
    OrderModifyRefused,
    OrderOutcomeUnknown,
    OrderRejected,
    OrderReopened,
    OrdersCancelStarted,
    OrderSettled,
    OrderSubmitted,
    OrderTriggered,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged, PositionSettled
from libs.common.service import Context
from services.gateway.memory import GatewayMemory
from services.gateway.store import GatewayStore
from services.gateway.store.books import row_of_terms

Ctx: TypeAlias = Context[GatewayStore, GatewayMemory]
NOTHING: Sequence[Message] = ()


async def submitted(event: OrderSubmitted, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.orders.begin("OrderSubmitted", row_of_terms(event, OrderStatus.SUBMITTED, event.version, ctx.cause.time))
    return NOTHING


async def denied(event: OrderDenied, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    row = row_of_terms(event, OrderStatus.DENIED, 1, ctx.cause.time)
    row["rule"], row["reason"] = event.rule.value, event.reason
    row["limit_text"], row["value_text"] = event.limit, event.value
    store.orders.begin("OrderDenied", row)
    store.risk.happened(ctx.cause.id, event.user_id, event, ctx.cause.time, event.account_id)
    return NOTHING


async def accepted(event: OrderAccepted | OrderReopened, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).orders.evolve(event, ctx.cause.time, broker_order_id=event.broker_order_id)
    return NOTHING


async def ended_or_unknown(event: OrderRejected | OrderOutcomeUnknown | OrderExpired, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).orders.evolve(event, ctx.cause.time, reason=event.reason)
    return NOTHING


async def settled_by_hand(event: OrderSettled, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.orders.evolve(event, ctx.cause.time, reason=event.reason)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def triggered(event: OrderTriggered, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).orders.evolve(event, ctx.cause.time)
    return NOTHING


async def modified(event: OrderModified, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    terms = (event.quantity, event.order_type.value, event.price, event.trigger_price)
    store.orders.evolve(event, ctx.cause.time, terms=terms)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def modify_refused(event: OrderModifyRefused, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def cancelled(event: OrderCancelled | OrderCancelRefused, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.orders.evolve(event, ctx.cause.time, reason=event.reason)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def cancel_started(event: OrdersCancelStarted, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def filled(event: FillReported, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.orders.evolve(event, ctx.cause.time)
    store.orders.fill(event)
    return NOTHING


async def position_changed(event: PositionChanged, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).portfolio.position(event, ctx.cause.time)
    return NOTHING


async def settled(event: PositionSettled, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).orders.settlement(event)
    return NOTHING


async def funds_changed(event: FundsChanged, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).portfolio.funds(event, ctx.cause.time)
    return NOTHING


async def positions_compared(event: PositionsCompared, ctx: Ctx) -> Sequence[Message]:
    """Whoever trades the account should know, as of any other danger to it."""
    store = ctx.memory.follow(ctx.store)
    store.broker_positions.compared(event)
    store.risk.happened(ctx.cause.id, event.user_id, event, ctx.cause.time, event.account_id)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING
