"""Forget what is kept only for a while; say what was left unsaid."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.users import UserAccessChanged
from libs.common.service import Context
from services.gateway.memory import GatewayMemory
from services.gateway.store import GatewayStore, idempotency, outcomes, people


async def forget(ctx: Context[GatewayStore, GatewayMemory]) -> Sequence[Message]:
    """Answers and outcomes kept for repeated requests (a day), sessions (until their refresh token is over)."""
    await idempotency.forget_old(ctx.store.connection, ctx.now)
    await outcomes.forget_old(ctx.store.connection, ctx.now)
    await people.forget_sessions(ctx.store.connection, ctx.now)
    return ()


async def tell_access(ctx: Context[GatewayStore, GatewayMemory]) -> Sequence[Message]:
    """Users who may not trade, or may again, by the word of a version that told nobody: before or during an update."""
    return [UserAccessChanged(**row) for row in await people.untold_access(ctx.store.connection)]
