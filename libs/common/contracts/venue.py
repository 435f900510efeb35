"""Between trading and the paper venue, which stands where a broker would."""

from datetime import datetime
from decimal import Decimal

from libs.common.contracts.base import Event, Request
from libs.common.contracts.enums import ExecutionKind, OrderPurpose, OrderType, Product, Side, Validity
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId


class VenueOrderRequested(Request):
    """`order_id` is the idempotency key: the venue acts on it once, however often it arrives.

    An exit need not be in whole lots: what is held may be odd since the lot size was changed.

    After `expires_at` it refuses the order: neither an outage nor a venue that reads its topic anew makes old trades.
    """

    order_id: OrderId
    account_id: AccountId
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    tag: str
    expires_at: datetime | None = None
    purpose: OrderPurpose = OrderPurpose.ENTRY


class VenueModifyRequested(Request):
    """New terms of a resting order; `quantity` is the new total."""

    order_id: OrderId
    account_id: AccountId
    instrument: InstrumentId
    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None


class VenueCancelRequested(Request):
    order_id: OrderId
    account_id: AccountId
    instrument: InstrumentId


class ExecutionReported(Event):
    """One thing that a venue did with one order. `execution_id` is the venue's own id: the same id is the same fact.

    `quantity` and `price` are of this fill (FILLED), or the new terms (MODIFIED).
    `leaves_quantity` is what still rests.
    """

    order_id: OrderId
    account_id: AccountId
    instrument: InstrumentId
    kind: ExecutionKind
    execution_id: str
    venue_order_id: str
    quantity: int = 0
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    order_type: OrderType | None = None
    leaves_quantity: int = 0
    reason: str = ""
    executed_at: datetime
