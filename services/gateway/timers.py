"""Forget what is kept only for a while."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.service import Context
from services.gateway.memory import GatewayMemory
from services.gateway.store import GatewayStore, idempotency, outcomes


async def forget(ctx: Context[GatewayStore, GatewayMemory]) -> Sequence[Message]:
    """Answers kept for repeated requests (a day) and outcomes kept for waiting instances (an hour)."""
    await idempotency.forget_old(ctx.store.connection, ctx.now)
    await outcomes.forget_old(ctx.store.connection, ctx.now)
    return ()
