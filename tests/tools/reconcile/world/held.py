"""An order and a position as their owner would keep them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from libs.common.contracts.enums import OrderStatus
from libs.common.contracts.portfolio import PositionState

UNIT = Decimal(10)
"""What every unit that an order opens blocks."""
ZERO = Decimal(0)
NIL = UUID(int=0)
INSTRUMENT = "NSE:SBIN"


@dataclass
class Placed:
    """An order, and what its tables show of it."""

    terms: dict[str, Any]
    status: OrderStatus
    version: int
    margin: Decimal = ZERO
    epoch: int = 0
    quantity: int = 0
    filled: int = 0
    value: Decimal = ZERO
    broker_order_id: str | None = None
    executions: list[str] = field(default_factory=list)
    filled_by: list[str] = field(default_factory=list)
    fill_ids: list[UUID] = field(default_factory=list)

    @property
    def order_id(self) -> UUID:
        found: UUID = self.terms["order_id"]
        return found

    @property
    def average_price(self) -> Decimal | None:
        return (self.value / self.filled).quantize(Decimal("0.0001")) if self.filled else None


@dataclass(frozen=True)
class Booked:
    order_id: UUID
    quantity: int
    price: Decimal


@dataclass
class Held:
    quantity: int = 0
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    bought: int = 0
    sold: int = 0
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO
    blocked: Decimal | None = None
    """What a bonus left of it: more shares block no more."""

    @property
    def margin(self) -> Decimal:
        return UNIT * abs(self.quantity) if self.blocked is None else self.blocked

    def take(self, signed: int, price: Decimal) -> Decimal:
        closes = self.quantity * signed < 0
        gain = ZERO
        if closes:
            average = self.cost / self.quantity
            gain = (average - price) * signed
            self.cost += average * signed
        else:
            self.cost += price * signed
        self.quantity += signed
        self.realised += gain
        self.bought, self.bought_value = self.bought + max(signed, 0), self.bought_value + price * max(signed, 0)
        self.sold, self.sold_value = self.sold + max(-signed, 0), self.sold_value + price * max(-signed, 0)
        return gain

    def begin_day(self) -> None:
        self.realised = self.bought_value = self.sold_value = ZERO
        self.bought = self.sold = 0

    def state(self) -> PositionState:
        return PositionState(
            quantity=self.quantity,
            average_price=abs(self.cost / self.quantity).quantize(Decimal("0.0001")) if self.quantity else ZERO,
            realised_pnl=self.realised,
            bought_quantity=self.bought,
            sold_quantity=self.sold,
            bought_value=self.bought_value,
            sold_value=self.sold_value,
        )
