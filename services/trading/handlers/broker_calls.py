"""What is asked of brokers behind HTTP, put where the effects find it. Nothing is called here."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.ids import CallId, CorrelationId, UserId
from libs.common.service import Context
from services.trading.domain.calls import Call, Request
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def record(request: Request, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """The effects are woken by the commit (see store.brokers.calls)."""
    cause = ctx.cause
    ctx.store.calls.ask(
        Call(
            call_id=CallId(cause.id),
            account_id=request.account_id,
            request=request,
            correlation_id=CorrelationId(cause.correlation_id),
            user_id=UserId(cause.user_id) if cause.user_id else None,
            created_at=ctx.now,
            not_before=ctx.now,
        )
    )
    return []
