"""What follows where a person discards a message that could not be handled: whoever waits for what becomes of it hears
that nothing will, and what is set aside for it is free. Nothing of it has left for a venue.
"""

from collections.abc import Sequence
from typing import TypeAlias

from libs.common.contracts.accounts import AccountDeleteRequested, AccountSaveRequested
from libs.common.contracts.base import GIVEN_UP, Message, RequestRefused
from libs.common.contracts.brokers import PositionsCompareRequested
from libs.common.contracts.enums import DenialRule
from libs.common.contracts.orders import (
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderModifyRefused,
    OrdersCancelRequested,
    OrderSettleRequested,
    SquareOffRequested,
)
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.service import Context
from services.trading.domain import calls, orders
from services.trading.domain.calls import Request
from services.trading.domain.panics import Denial
from services.trading.handlers import square_offs
from services.trading.memory import TradingMemory
from services.trading.store import TradingStore

Asked: TypeAlias = (
    OrdersCancelRequested
    | OrderSettleRequested
    | SquareOffRequested
    | AccountSaveRequested
    | AccountDeleteRequested
    | PositionsCompareRequested
    | PanicRequested
    | PanicResetRequested
)
DENIAL = Denial(DenialRule.GIVEN_UP, GIVEN_UP, "handled", "given up")


async def deny(cleared: OrderCleared, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """Risk frees what the order blocks, as for any that we deny. Of the account's own orders nothing is written: what
    its clearance could not be kept by, its denial may not be either.
    """
    denied = orders.deny(cleared, DENIAL)
    return await square_offs.record_denial(denied, ctx) if cleared.square_off_id else [denied]


async def tell_denial(denied: OrderDenied, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    return [denied]


async def refuse_change(change: OrderModifyCleared, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    return [orders.modify_refused(change, DENIAL)]


async def tell_refusal(refused: OrderModifyRefused, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    return [refused]


async def refuse_cancel(request: OrderCancelRequested, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    order = await ctx.store.orders.get(request.order_id)
    if order is None or order.account_id != request.account_id:
        return [orders.cancel_unknown(request)]
    after, refused = orders.cancel_refused(order, GIVEN_UP)
    ctx.store.orders.save(after)
    return [refused]


async def refuse(request: Asked, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    return [
        RequestRefused(entity_id=_subject(request), request=type(request).__name__, code="given_up", reason=GIVEN_UP)
    ]


async def refuse_call(request: Request, ctx: Context[TradingStore, TradingMemory]) -> Sequence[Message]:
    """The effects have not heard of it, so its broker was not asked."""
    said = calls.REFUSALS[type(request)]
    return [
        ExecutionReported(
            order_id=request.order_id,
            account_id=request.account_id,
            instrument=request.instrument,
            kind=said,
            execution_id=f"{ctx.cause.id}:{said.lower()}",
            venue_order_id="",
            reason=GIVEN_UP,
            executed_at=ctx.now,
        )
    ]


def _subject(request: Asked) -> str:
    match request:
        case OrderSettleRequested(order_id=order_id):
            return str(order_id)
        case SquareOffRequested(square_off_id=square_off_id):
            return str(square_off_id)
        case PanicRequested(panic_id=panic_id) | PanicResetRequested(panic_id=panic_id):
            return str(panic_id)
        case _:
            return str(request.account_id)
