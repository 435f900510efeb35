"""Panics: the epoch is raised before anything else; the square-offs follow in the same transaction."""

from collections.abc import Sequence
from dataclasses import replace

from libs.common.contracts.base import Message
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.service import Context
from services.trading.domain import panics
from services.trading.handlers import square_offs
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def raise_panic(request: PanicRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """PanicRaised is the acknowledgement: nothing cleared under an older epoch leaves after it."""
    refused = panics.refuse_scope(request)
    if refused is not None:
        return [refused]
    known = await ctx.store.panics.epoch_of(request.panic_id)
    if known is not None:
        return [panics.raised(request, known)]
    [current] = await ctx.store.panics.epochs([request.scope])
    after = panics.raise_epoch(current, request.panic_id, by_admin=request.by_admin)
    ctx.store.panics.save(after)
    await ctx.store.panics.record(request, after.epoch, ctx.now)
    said: list[Message] = [panics.raised(request, after.epoch)]
    for account in await ctx.store.accounts_at_stake(request.scope):
        said += await square_offs.begin_panic(account, panics.strategy_of(request.scope), ctx)
    return said


async def halt(request: PanicRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """By an operator, while trading is stopped: the epoch rises even if the scope is stopped already, and nothing is
    squared off. After a restore the books may be older than the broker's; closing what they show could open it there.
    """
    await ctx.store.enter()
    [current] = await ctx.store.panics.epochs([request.scope])
    after = panics.raise_epoch(replace(current, halted=False), request.panic_id, by_admin=True)
    ctx.store.panics.save(after)
    await ctx.store.panics.record(request, after.epoch, ctx.now)
    return [panics.raised(request, after.epoch)]


async def reset_panic(request: PanicResetRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    refused = panics.refuse_scope(request)
    if refused is not None:
        return [refused]
    [current] = await ctx.store.panics.epochs([request.scope])
    newest = await ctx.store.panics.newest(request.scope)
    refused = panics.refuse_reset(current, newest, request, ctx.now)
    if refused is not None:
        return [refused]
    ctx.store.panics.save(panics.reset(current))
    said: list[Message] = [panics.was_reset(request, current.epoch)]
    for account_id in sorted(await ctx.store.square_offs.panicking()):
        said += await square_offs.part_panic(await ctx.store.accounts.owner(account_id), ctx)
    return said
