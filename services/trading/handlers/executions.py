"""What venues report: the order moves on, and with a fill its position, its book and the funds."""

from collections.abc import Sequence
from dataclasses import replace

from libs.common.contracts.base import Message
from libs.common.contracts.enums import ExecutionKind
from libs.common.contracts.ids import FillId
from libs.common.contracts.orders import FillReported
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Context
from libs.common.telemetry import log
from services.trading.domain import accounts, executions, orders, positions
from services.trading.domain.accounts import TradingAccount
from services.trading.domain.orders import Order
from services.trading.handlers import funds, square_offs
from services.trading.handlers.accounts import reopen
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def apply_execution(execution: ExecutionReported, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    order = await ctx.store.order(execution.order_id, ctx.now)
    if order is None:
        log.warning("execution_of_unknown_order", order_id=str(execution.order_id), kind=execution.kind)
        return []
    account = await ctx.store.accounts.owner(order.account_id)
    if not await ctx.store.executions.is_new(account.broker, execution):
        return []
    said: list[Message] = []
    if execution.kind is ExecutionKind.FILLED and accounts.trading_day(ctx.now) > account.day:
        said += await funds.begin_day(account, ctx)
        account = await ctx.store.accounts.owner(order.account_id)
    if execution.kind is ExecutionKind.FOUND and order.status.is_final:
        log.error("order_found_after_rejection", order_id=str(order.order_id), broker_order_id=execution.venue_order_id)
    after, facts = executions.report(order, execution, FillId(ctx.derive("fill")))
    said += facts
    ctx.store.orders.save(after)
    fill = facts[-1] if facts else None
    if account.deleted and (after.is_open or isinstance(fill, FillReported)):
        said += await reopen(account, ctx)
        account = await ctx.store.accounts.owner(order.account_id)
    if isinstance(fill, FillReported):
        said += await _book(fill, order, after, account, ctx)
    else:
        said += funds.move(account, ctx, margin=after.blocked - order.blocked)
    if executions.has_to_cancel_again(order, after):
        said += await square_offs.send_cancel(after, ctx)
    said += await square_offs.follow(after, execution.kind, ctx)
    return said


async def _book(
    fill: FillReported, before: Order, filled: Order, account: TradingAccount, ctx: Context[TradingStore, TradingMemory]
) -> Sequence[Message]:
    _flag_oddities(before, filled)
    net, book = await ctx.store.positions.of(filled)
    signed = fill.side.sign * fill.quantity
    after, margin = orders.spend_margin(before, filled, positions.closing(net.holding, signed))
    moved = positions.move(net, signed, fill.price, margin, fill.order_id)
    booked = replace(book, holding=positions.trade(book.holding, signed, fill.price))
    ctx.store.orders.save(after)
    ctx.store.positions.save_net(moved)
    ctx.store.positions.save_book(booked)
    return [
        positions.changed(moved, booked, fill.quantity),
        *funds.move(
            account,
            ctx,
            margin=after.blocked - before.blocked + moved.margin - net.margin,
            realised=moved.holding.realised_pnl - net.holding.realised_pnl,
        ),
    ]


def _flag_oddities(before: Order, filled: Order) -> None:
    """Money moved, so it is booked; but somebody should look."""
    if not before.is_open:
        log.warning("fill_after_the_end", order_id=str(filled.order_id), status=before.status)
    if executions.is_overfill(filled):
        log.error("overfill", order_id=str(filled.order_id), quantity=filled.quantity, filled=filled.filled_quantity)
