"""Orders."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from libs.common.api import ProblemDetails
from libs.common.contracts.enums import (
    Exchange,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    SettledAs,
    Side,
    Validity,
)
from services.gateway.api.models.common import Answer, Body, Price, Quantity, Strategy, Whole
from services.gateway.domain.symbols import one_instrument


class PlaceOrder(Body):
    """`instrument` is `NSE:SBIN`; or send `symbol` and `exchange`. Market orders carry no price."""

    account_id: UUID
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None
    symbol: Annotated[str, StringConstraints(max_length=60)] | None = None
    exchange: Exchange | None = None
    side: Side
    quantity: Quantity
    order_type: OrderType = OrderType.MARKET
    product: Product
    validity: Validity = Validity.DAY
    price: Price | None = None
    trigger_price: Price | None = None
    strategy_id: Strategy | None = None
    purpose: OrderPurpose = Field(
        default=OrderPurpose.ENTRY,
        description="EXIT passes limits, but only as far as it reduces a position: with strategy_id, that one's own",
    )

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "account_id": "01976f3e-2d4b-7c3a-9f53-3b1c6f0d9a11",
                    "instrument": "NSE:SBIN",
                    "side": "BUY",
                    "quantity": 10,
                    "order_type": "LIMIT",
                    "product": "MIS",
                    "price": "812.50",
                }
            ]
        },
    )

    @model_validator(mode="after")
    def fit_together(self) -> "PlaceOrder":
        self.instrument = one_instrument(self.instrument, self.symbol, self.exchange)
        limit = self.order_type in (OrderType.LIMIT, OrderType.SL)
        stop = self.order_type in (OrderType.SL, OrderType.SL_M)
        if limit != (self.price is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if limit else 'takes no'} price")
        if stop != (self.trigger_price is not None):
            raise ValueError(f"a {self.order_type} order {'needs a' if stop else 'takes no'} trigger_price")
        if self.purpose is OrderPurpose.SQUARE_OFF:
            raise ValueError("square-offs are made by positions/close")
        return self


class ModifyOrder(Body):
    """Fields left out stay; `quantity` is the new total."""

    order_id: UUID
    quantity: Quantity | None = None
    order_type: OrderType | None = None
    price: Price | None = None
    trigger_price: Price | None = None

    @model_validator(mode="after")
    def changes_something(self) -> "ModifyOrder":
        if not self.model_fields_set - {"order_id"}:
            raise ValueError("name at least one field to change")
        return self


class CancelOrder(Body):
    order_id: UUID


class SettleOrder(Body):
    """What became of an order: of CANCELLED and FILLED, `quantity` traded at `price` on average, besides what the
    tradebook shows of it already. `broker_order_id` as the broker's contract note has it. `reason` says how you know.
    """

    order_id: UUID
    outcome: SettledAs
    quantity: Annotated[Whole, Field(ge=0, le=10_000_000)] = 0
    price: Price | None = None
    broker_order_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9]{0,40}$")] = ""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=5, max_length=500)]


class SettledOrder(Answer):
    """What was kept; the order's own state follows from it within moments, at `status_url`."""

    order_id: UUID
    outcome: SettledAs
    quantity: int
    price: Decimal | None
    settled_by: UUID
    reason: str
    status_url: str


class CancelAll(Body):
    """Of one account, or of all of yours; of one strategy or instrument, or of all."""

    account_id: UUID | None = None
    strategy_id: Strategy | None = None
    instrument: Annotated[str, StringConstraints(max_length=80)] | None = None


class OrderView(Answer):
    order_id: UUID
    account_id: UUID
    strategy_id: UUID | None
    instrument: str
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: OrderPurpose
    square_off_id: UUID | None = Field(default=None, description="Of which square-off it is an exit")
    status: OrderStatus
    filled_quantity: int
    average_price: Decimal | None
    broker_order_id: str | None
    rule: str | None
    reason: str | None
    limit: str | None = Field(default=None, description="What a denied order had to keep to")
    value: str | None = Field(default=None, description="What it came to instead")
    requested_at: datetime
    updated_at: datetime
    version: int
    seq: int


class OrderProblem(ProblemDetails):
    """An order that we denied (`order_denied`) or the venue rejected (`order_rejected`) is in the book as such; what
    was not understood is no order, and has no `order_id`.
    """

    order_id: UUID | None = None
    rule: str | None = None
    limit: str | None = None
    value: str | None = None


class OrderEvent(Answer):
    at: datetime
    event: str
    status: OrderStatus
    filled_quantity: int
    reason: str | None = None


class OrderHistory(Answer):
    order_id: UUID
    status: OrderStatus
    is_final: bool
    filled_quantity: int
    average_price: Decimal | None
    reason: str | None
    history: list[OrderEvent]


class Cancelling(Answer):
    order_ids: list[UUID]
    pending: list[UUID]
