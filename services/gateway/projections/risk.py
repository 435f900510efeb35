"""Breaches, panics and square-offs."""

from collections.abc import Sequence

from libs.common.contracts.algos import LegRefused, SquareOffRefused
from libs.common.contracts.base import Message
from libs.common.contracts.orders import SquareOffCompleted, SquareOffStarted
from libs.common.contracts.portfolio import PositionAdjusted, PositionUnadjusted, PositionUnsettled
from libs.common.contracts.risk import MTMBreached, PanicRaised, PanicReset
from services.gateway.projections.books import NOTHING, Ctx


async def breached(event: MTMBreached, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.risk.happened(ctx.cause.id, event.user_id, event, event.breached_at, event.account_id)
    return NOTHING


async def panic_changed(event: PanicRaised | PanicReset, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.risk.panic(ctx.cause.id, event, ctx.cause.time)
    store.outcomes.ended(event.panic_id, event, ctx.cause.time)
    return NOTHING


async def square_off_changed(event: SquareOffStarted | SquareOffCompleted, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    store.risk.square_off(event, ctx.cause.time)
    store.risk.happened(ctx.cause.id, event.user_id, event, ctx.cause.time, event.account_id)
    store.outcomes.ended(event.square_off_id, event, ctx.cause.time)
    return NOTHING


async def needs_a_look(
    event: LegRefused | SquareOffRefused | PositionUnsettled | PositionAdjusted | PositionUnadjusted, ctx: Ctx
) -> Sequence[Message]:
    """The owner should look at what an algo, or an account, holds."""
    ctx.memory.follow(ctx.store).risk.happened(ctx.cause.id, event.user_id, event, ctx.cause.time, event.account_id)
    return NOTHING
