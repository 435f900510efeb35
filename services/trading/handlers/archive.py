"""What ended long ago leaves the order path's tables, by night; where none runs then, little by little by day."""

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
BY_DAY = 200
"""Orders wait for their accounts then."""
LATE = timedelta(days=2)
"""What is so much older than the night leaves was left because nothing ran by night, as where the stack is stopped each
evening.
"""
EXPIRED_FOR = timedelta(days=30)
"""So long after a contract's last day nobody tells of a trade in it any more."""


async def archive(ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Timer, every 20 s: some 7 million orders a night, and as many positions looked at; 200,000 in a session."""
    is_night = ctx.now.astimezone(IST).hour < NIGHT_ENDS_AT
    before, most = (ctx.now - KEPT, ORDERS_AT_ONCE) if is_night else (ctx.now - KEPT - LATE, BY_DAY)
    await ctx.store.archive.forget_calls(before, most)
    await ctx.store.archive.forget_square_offs(before, most)
    moved = await ctx.store.archive.move(before, most)
    if moved:
        log.info("archived", orders=moved)
    await _forget_expired(POSITIONS_AT_ONCE if is_night else BY_DAY, ctx)
    return []


async def _forget_expired(most: int, ctx: Context[TradingStore, TradingMemory]) -> None:
    """What was held of contracts that are no more: a page of all positions each time, all of them once a day."""
    memory, today = ctx.memory, trading_day(ctx.now)
    if memory.looked_on == today:
        return
    page = await ctx.store.archive.positions_after(memory.looked_at, most)
    over = [key for key in page if has_expired(key[1], today - EXPIRED_FOR)]
    if over:
        await ctx.store.archive.forget_positions(over)
    is_last = len(page) < most
    if is_last:
        learned = await ctx.store.square_offs.largest_orders()
        await ctx.store.square_offs.forget_largest_orders([each for each in learned if has_expired(each, today)])
    memory.looked_at, memory.looked_on = (None, today) if is_last else (page[-1], None)
