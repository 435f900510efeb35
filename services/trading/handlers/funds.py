"""An account's funds, and the first moment of its trading day."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from libs.common.contracts.base import Message
from libs.common.service import Context
from services.trading.domain import accounts, positions
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.money import ZERO
from services.trading.handlers import adjustments
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

ACCOUNTS_PER_TICK = 100


def move(
    account: TradingAccount,
    ctx: Context[TradingStore, TradingMemory],
    *,
    margin: Decimal = ZERO,
    realised: Decimal = ZERO,
) -> Sequence[Message]:
    after = accounts.move_funds(account, margin=margin, realised=realised)
    if after is account:
        return []
    ctx.store.accounts.save(after)
    return [accounts.funds_changed(after)]


async def begin_days(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer: accounts that still show yesterday's figures."""
    await ctx.store.enter()
    today = accounts.trading_day(ctx.now)
    found = await ctx.store.accounts.of_days_before(today, ACCOUNTS_PER_TICK)
    await ctx.store.load_portfolios({account.account_id for account in found})
    return [message for account in found for message in await begin_day(account, ctx)]


async def begin_day(account: TradingAccount, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Quantities and average prices carry over, the day's profit becomes balance (openalgo#1426). Splits and bonuses
    whose ex-date it is come next, before anything is traded.
    """
    opened = accounts.begin_day(account, accounts.trading_day(ctx.now))
    ctx.store.accounts.save(opened)
    said: list[Message] = [accounts.funds_changed(opened)] if opened.funds is not account.funds else []
    books = [
        replace(book, holding=positions.carry(book.holding))
        for book in await ctx.store.positions.live_books(account.account_id)
        if book.holding.traded_today
    ]
    for net in await ctx.store.positions.live_nets(account.account_id):
        if not net.holding.traded_today:
            continue
        net = replace(net, holding=positions.carry(net.holding))
        for book in books:
            if positions.net_key(book) == positions.net_key(net):
                net = replace(net, version=net.version + 1)
                ctx.store.positions.save_book(book)
                said.append(positions.changed(net, book, 0))
        ctx.store.positions.save_net(net)
    freed, adjusted = await adjustments.book(opened, account.day, ctx)
    return [*said, *adjusted, *move(opened, ctx, margin=freed)]
