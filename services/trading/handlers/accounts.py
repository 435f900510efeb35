"""Accounts: made, changed and deleted by their owners."""

from collections.abc import Sequence
from dataclasses import replace

from libs.common.contracts.accounts import AccountDeleteRequested, AccountSaveRequested
from libs.common.contracts.base import Message, RequestRefused
from libs.common.service import Context
from libs.common.telemetry import log
from services.trading.domain import accounts
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.symbols import has_expired
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def save_account(request: AccountSaveRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    before = await ctx.store.accounts.get(request.account_id)
    after = accounts.save(before, request, ctx.now)
    if isinstance(after, RequestRefused):
        return [after]
    ctx.store.accounts.save(after, described=request.account)
    said: list[Message] = [accounts.saved(after, request.account)]
    if before is None or before.funds is not after.funds:
        said.append(accounts.funds_changed(after))
    return said


async def delete_account(
    request: AccountDeleteRequested, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    account = await ctx.store.accounts.get(request.account_id)
    refused = accounts.delete(account, request, in_use=await _is_in_use(request, ctx))
    if account is None or refused is not None:
        return [refused] if refused else []
    ctx.store.accounts.save(replace(account, deleted=True, active=False))
    return [accounts.deleted(account)]


async def reopen(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Something of it is open after its deletion: somebody must be able to see it and to close it."""
    log.warning("deleted_account_reopened", account_id=str(account.account_id))
    after = accounts.reopen(account)
    ctx.store.accounts.save(after)
    await ctx.store.comparisons.resume(after.account_id)
    return [accounts.saved(after, await ctx.store.accounts.described(after))]


async def _is_in_use(request: AccountDeleteRequested, ctx: Context[TradingStore, TradingMemory]) -> bool:
    """What has expired without a settlement price nobody can close."""
    if await ctx.store.orders.open(request.account_id):
        return True
    held = [book for book in await ctx.store.positions.live_books(request.account_id) if book.holding.quantity]
    return not all(has_expired(book.instrument, accounts.trading_day(ctx.now)) for book in held)
