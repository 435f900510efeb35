"""Accounts, algos, signal groups, risk limits, custom symbols; and the refusals to change them."""

from collections.abc import Sequence

from libs.common.contracts.accounts import AccountDeleted, AccountSaved
from libs.common.contracts.algos import AlgoDeleted, AlgoSaved
from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.masters import CorporateActionsImported, CustomSymbolDeleted, CustomSymbolSaved
from libs.common.contracts.risk import RiskLimitDeleted, RiskLimitSaved
from libs.common.contracts.signals import SignalGroupDeleted, SignalGroupSaved
from services.gateway.projections.books import NOTHING, Ctx
from services.gateway.store.entities import Kind

Saved = AccountSaved | AlgoSaved | SignalGroupSaved | RiskLimitSaved | CustomSymbolSaved
Deleted = AccountDeleted | AlgoDeleted | SignalGroupDeleted | RiskLimitDeleted | CustomSymbolDeleted


async def saved(event: Saved, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    match event:
        case AccountSaved():
            store.entities.saved(
                Kind.ACCOUNT, event.account_id, event.user_id, event.version, event.account, ctx.cause.time
            )
        case AlgoSaved():
            store.entities.saved(Kind.ALGO, event.algo_id, event.user_id, event.version, event.algo, ctx.cause.time)
        case SignalGroupSaved():
            store.entities.saved(
                Kind.SIGNAL_GROUP, event.group_id, event.user_id, event.version, event.group, ctx.cause.time
            )
        case RiskLimitSaved():
            store.entities.saved(
                Kind.RISK_LIMIT, event.limit_id, event.user_id, event.version, event.limit, ctx.cause.time
            )
        case CustomSymbolSaved():
            symbol_id, body = event.custom_symbol_id, event.custom_symbol
            store.entities.saved(Kind.CUSTOM_SYMBOL, symbol_id, event.user_id, event.version, body, ctx.cause.time)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def deleted(event: Deleted, ctx: Ctx) -> Sequence[Message]:
    store = ctx.memory.follow(ctx.store)
    match event:
        case AccountDeleted():
            store.entities.deleted(Kind.ACCOUNT, event.account_id, event.user_id, ctx.cause.time)
        case AlgoDeleted():
            store.entities.deleted(Kind.ALGO, event.algo_id, event.user_id, ctx.cause.time)
        case SignalGroupDeleted():
            store.entities.deleted(Kind.SIGNAL_GROUP, event.group_id, event.user_id, ctx.cause.time)
        case RiskLimitDeleted():
            store.entities.deleted(Kind.RISK_LIMIT, event.limit_id, event.user_id, ctx.cause.time)
        case CustomSymbolDeleted():
            store.entities.deleted(Kind.CUSTOM_SYMBOL, event.custom_symbol_id, event.user_id, ctx.cause.time)
    store.outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def imported(event: CorporateActionsImported, ctx: Ctx) -> Sequence[Message]:
    """Marketdata keeps them; here somebody may wait to hear so."""
    ctx.memory.follow(ctx.store).outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING


async def refused(event: RequestRefused, ctx: Ctx) -> Sequence[Message]:
    ctx.memory.follow(ctx.store).outcomes.ended(ctx.cause.correlation_id, event, ctx.cause.time)
    return NOTHING
