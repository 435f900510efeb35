"""Signals and what algos did with them."""

from collections.abc import Sequence

from libs.common.contracts.algos import SignalActedOn, SignalSkipped
from libs.common.contracts.base import Message
from libs.common.contracts.signals import SignalReceived
from services.gateway.projections.books import NOTHING, Ctx


async def received(event: SignalReceived, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).signals.received(event)
    return NOTHING


async def decided(event: SignalActedOn | SignalSkipped, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).signals.decided(event, ctx.cause.time)
    return NOTHING
