"""A person tells what became of an order whose outcome is unknown."""

from collections.abc import Sequence

from libs.common.contracts.base import Message, RequestRefused
from libs.common.contracts.orders import OrderSettleRequested
from libs.common.service import Context
from libs.common.telemetry import log
from services.trading.domain import settling
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore


async def settle_order(request: OrderSettleRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Said, no longer watched, and reported: in one transaction. The reports come back to us as any broker's do."""
    order = await ctx.store.orders.get(request.order_id)
    watched = await ctx.store.watched.get(request.order_id)
    settled = settling.settle(order, watched, request, ctx.now)
    if isinstance(settled, RequestRefused):
        return [settled]
    ctx.store.orders.save(settled.order)
    ctx.store.watched.save(settled.watched)
    log.warning(
        "order_settled_by_hand",
        order_id=str(request.order_id),
        by=str(request.user_id),
        outcome=request.outcome,
        quantity=request.quantity,
    )
    return [settled.said, *settled.reports]
