"""Splits and bonuses: noted when they are told, and booked as an account's day begins that is their ex-date or later.

So they are on the position before anything is traded on that day, whatever was down at midnight. A timer books what was
told after its account's day had begun.
"""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.masters import CorporateActionsImported
from libs.common.service import Context
from services.trading.domain import accounts
from services.trading.domain import corporate_actions as rules
from services.trading.handlers import adjustments, funds
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

ACCOUNTS_PER_TICK = 100


async def note(told: CorporateActionsImported, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """What was booked stays, also when it is withdrawn, or told otherwise."""
    changes = [terms for terms in told.actions if rules.changes_shares(terms)]
    store = ctx.store.corporate_actions
    await store.withdraw([rules.share_action(terms) for terms in changes if terms.withdrawn])
    await store.save([rules.share_action(terms) for terms in changes if not terms.withdrawn])
    return []


async def book(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer: accounts that carried something into an ex-date which was told too late for their day's beginning."""
    await ctx.store.enter()
    today = accounts.trading_day(ctx.now)
    found = await ctx.store.accounts.adjusting(today, ACCOUNTS_PER_TICK)
    await ctx.store.load_portfolios({account.account_id for account in found})
    said: list[Message] = []
    for account in found:
        if account.day < today:
            said += await funds.begin_day(account, ctx)
        else:
            freed, booked = await adjustments.book(account, account.day, ctx)
            said += [*booked, *funds.move(account, ctx, margin=freed)]
    return said
