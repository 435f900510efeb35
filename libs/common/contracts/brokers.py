"""What trading asks of brokers behind HTTP. It reads these wishes itself, after the commit that recorded the attempt.

A broker's answers come back as ExecutionReported, like the paper venue's.
"""

from decimal import Decimal

from libs.common.contracts.base import Request
from libs.common.contracts.enums import Broker, OrderPurpose, OrderType, Product, Side, Validity
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId


class BrokerOrderRequested(Request):
    """Place the order, once: whoever cannot tell whether the broker has it looks for `tag` and never asks again.

    `epoch` is the panic epoch it was cleared under: the last look before it leaves holds it against the epoch in force.
    """

    order_id: OrderId
    account_id: AccountId
    broker: Broker
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    tag: str
    purpose: OrderPurpose
    epoch: int


class BrokerModifyRequested(Request):
    """New terms of an open order, all of them; `quantity` is the new total. Safe to repeat."""

    order_id: OrderId
    account_id: AccountId
    broker: Broker
    instrument: InstrumentId
    quantity: int
    order_type: OrderType
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: OrderPurpose
    epoch: int


class BrokerCancelRequested(Request):
    """Safe to repeat."""

    order_id: OrderId
    account_id: AccountId
    broker: Broker
    instrument: InstrumentId
