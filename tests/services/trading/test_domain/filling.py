"""An order, what a venue reports of it, and what is held after some trades."""

from decimal import Decimal

from libs.common.contracts.base import Event
from libs.common.contracts.enums import Side
from libs.common.contracts.ids import FillId
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain import executions, orders, positions
from services.trading.domain.orders import Order
from services.trading.domain.positions import Holding
from tests.services.trading.making import cleared, order_id

FILL_ID = FillId(order_id(99))


def submitted(quantity: int = 10, margin: str = "1000", side: Side = Side.BUY, unit: str | None = None) -> Order:
    return orders.submit(cleared(side, quantity, margin=margin, unit=unit))[0]


def after(order: Order, *reports: ExecutionReported) -> tuple[Order, list[Event]]:
    said: list[Event] = []
    for report in reports:
        order, events = executions.report(order, report, FILL_ID)
        said += events
    return order, said


def holding_after(*trades: tuple[int, Decimal]) -> Holding:
    holding = Holding()
    for signed, price in trades:
        holding = positions.trade(holding, signed, price)
    return holding
