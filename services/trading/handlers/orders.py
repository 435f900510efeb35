"""Orders on their way to the venue: what risk decided, and what people want of orders that rest there."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderModifyRefused,
    OrdersCancelRequested,
    OrdersCancelStarted,
)
from libs.common.service import Context
from services.trading.adapters import BROKERS
from services.trading.domain import exit_plan, orders, panics
from services.trading.domain.orders import Order
from services.trading.domain.panics import Denial
from services.trading.handlers import funds, square_offs
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

MOST_NAMED = 10_000
"""Of the orders that are cancelled together: a message has a megabyte at most."""


async def submit_order(cleared: OrderCleared, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """The attempt and the message that carries it out commit together: nothing is sent twice, nor forgotten."""
    if _is_repeat(await ctx.store.order(cleared.order_id, ctx.now)):
        return []
    account = await ctx.store.accounts.get(cleared.account_id)
    if account is None:
        return await _deny(cleared, panics.unknown_account(cleared.account_id), ctx)
    epochs = await ctx.store.epochs(account, cleared.strategy_id)
    denial = panics.refuse(account, epochs, cleared.epoch, cleared.purpose)
    if denial is not None:
        return await _deny(cleared, denial, ctx)
    order, submitted = orders.submit(cleared)
    if order.is_exit and await _is_needless(order, ctx):
        return await _deny(cleared, exit_plan.NEEDLESS, ctx)
    ctx.store.orders.save(order)
    return [
        submitted,
        *funds.move(account, ctx, margin=order.blocked),
        *BROKERS[account.broker].submit(order, cleared),
    ]


async def _deny(cleared: OrderCleared, denial: Denial, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    return await square_offs.record_denial(orders.deny(cleared, denial), ctx)


async def _is_needless(order: Order, ctx: Context[TradingStore, TradingMemory]) -> bool:
    open_ones = await ctx.store.orders.open(order.account_id)
    return exit_plan.is_needless(order, open_ones, await ctx.store.positions.live_books(order.account_id))


async def record_denial(denied: OrderDenied, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    if _is_repeat(await ctx.store.order(denied.order_id, ctx.now)):
        return []
    return await square_offs.record_denial(denied, ctx)


def _is_repeat(known: Order | None) -> bool:
    """The same order id is the same order, by whatever road it comes; only our exits are known beforehand."""
    return known is not None and known.status is not OrderStatus.REQUESTED


async def modify_order(change: OrderModifyCleared, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """New terms go to the venue; while they do, the dearer of both terms blocks margin."""
    if ctx.now - ctx.cause.time >= orders.REACHES_WITHIN:
        return [orders.modify_refused(change, orders.change_waited(ctx.now - ctx.cause.time))]
    order = await ctx.store.orders.get(change.order_id)
    if order is None:
        return [orders.modify_refused(change, orders.never_sent(change.order_id))]
    wrong = orders.refuse_change(order, change)
    if wrong is not None:
        return [orders.modify_refused(change, wrong)]
    account = await ctx.store.accounts.owner(order.account_id)
    epochs = await ctx.store.epochs(account, order.strategy_id)
    denial = panics.refuse(account, epochs, change.epoch, order.purpose)
    if denial is not None:
        return [orders.modify_refused(change, denial)]
    after = orders.modify(order, change)
    ctx.store.orders.save(after)
    return [
        *funds.move(account, ctx, margin=after.blocked - order.blocked),
        *BROKERS[account.broker].modify(after, change),
    ]


async def record_modify_refusal(
    refused: OrderModifyRefused, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    """Said again here, so that all that happens to an account's orders is on one topic."""
    return [refused]


async def cancel_order(request: OrderCancelRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    order = await ctx.store.orders.get(request.order_id)
    if order is None or order.account_id != request.account_id or order.status is OrderStatus.REQUESTED:
        return [orders.cancel_unknown(request)]
    if not order.is_open:
        after, refused = orders.cancel_refused(order, f"the order is {order.status} already")
        ctx.store.orders.save(after)
        return [refused]
    return await square_offs.send_cancel(order, ctx) if orders.needs_cancel(order, ctx.now) else []


async def cancel_orders(request: OrdersCancelRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Every open order of the scope, but not the exits of square-offs."""
    found = [
        order
        for order in await ctx.store.orders.open(request.account_id)
        if not order.is_exit
        and request.strategy_id in (None, order.strategy_id)
        and request.instrument in (None, order.instrument)
        and orders.needs_cancel(order, ctx.now)
    ]
    named = tuple(order.order_id for order in found[:MOST_NAMED])
    started = OrdersCancelStarted(account_id=request.account_id, user_id=request.user_id, order_ids=named)
    return [started, *[message for order in found for message in await square_offs.send_cancel(order, ctx)]]
