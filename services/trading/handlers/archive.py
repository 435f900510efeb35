"""What ended long ago leaves the order path's tables, by night."""

from collections.abc import Sequence
from datetime import timedelta

from libs.common.contracts.base import Message
from libs.common.service import Context
from libs.common.telemetry import log
from libs.common.trading_calendar import IST
from services.trading.domain.accounts import trading_day
from services.trading.domain.symbols import has_expired
from services.trading.memory import TradingMemory
from services.trading.store import KEPT, TradingStore

NIGHT_ENDS_AT = 8
"""o'clock in India. From midnight until then no Indian exchange trades."""
ORDERS_AT_ONCE = 5_000
"""Their accounts wait meanwhile. Four times as many took 2 to 5 s on two busy cores."""
POSITIONS_AT_ONCE = 5_000

EXPIRED_FOR = timedelta(days=30)
"""So long after a contract's last day nobody tells of a trade in it any more."""


async def archive(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer, every 20 s: some 7 million orders a night, and as many positions looked at."""
    if ctx.now.astimezone(IST).hour >= NIGHT_ENDS_AT:
        return []
    await ctx.store.archive.forget_calls(ctx.now - KEPT, ORDERS_AT_ONCE)
    await ctx.store.archive.forget_square_offs(ctx.now - KEPT, ORDERS_AT_ONCE)
    moved = await ctx.store.archive.move(ctx.now - KEPT, ORDERS_AT_ONCE)
    if moved:
        log.info("archived", orders=moved)
    await _forget_expired(ctx)
    return []


async def _forget_expired(ctx: Context[TradingStore, TradingMemory]) -> None:
    """What was held of contracts that are no more: a page of all positions each time, all of them once a night."""
    memory, today = ctx.memory, trading_day(ctx.now)
    if memory.looked_on == today:
        return
    page = await ctx.store.archive.positions_after(memory.looked_at, POSITIONS_AT_ONCE)
    over = [key for key in page if has_expired(key[1], today - EXPIRED_FOR)]
    if over:
        await ctx.store.archive.forget_positions(over)
    is_last = len(page) < POSITIONS_AT_ONCE
    memory.looked_at, memory.looked_on = (None, today) if is_last else (page[-1], None)
