"""Somebody wants to know whether an account's positions are its broker's. The effects look, and answer."""

from collections.abc import Sequence

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.brokers import PositionsCompareRequested
from libs.common.contracts.enums import Broker
from libs.common.contracts.ids import CorrelationId
from libs.common.service import Context
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def ask(request: PositionsCompareRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    account = await ctx.store.accounts.get(request.account_id)
    if account is None or account.deleted:
        return [_refuse(request, "not_found", "there is no such account")]
    if account.broker is Broker.PAPER:
        return [_refuse(request, "invalid", "a paper account has no broker whose positions could be others")]
    if not await ctx.store.comparisons.ask(request.account_id, CorrelationId(ctx.cause.correlation_id)):
        reason = "the account has no credentials for its broker: set them, and log in there"
        return [_refuse(request, "conflict", reason)]
    return []


def _refuse(request: PositionsCompareRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.account_id), request=type(request).__name__, code=code, reason=reason)
