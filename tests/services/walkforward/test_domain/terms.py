"""Short words for the terms of an order, and for what the venue said of it."""

from libs.common.contracts.enums import ExecutionKind, OrderType, Side
from libs.common.contracts.venue import ExecutionReported
from services.walkforward.domain.orders import Change

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, SL, SL_M = OrderType.MARKET, OrderType.LIMIT, OrderType.SL, OrderType.SL_M
K = ExecutionKind


def fills(executions: tuple[ExecutionReported, ...]) -> list[tuple[int, str]]:
    return [(e.quantity, str(e.price)) for e in executions if e.kind is K.FILLED]


def kinds(executions: tuple[ExecutionReported, ...]) -> list[ExecutionKind]:
    return [e.kind for e in executions]


def changed(answer: Change | str) -> Change:
    assert isinstance(answer, Change)
    return answer
