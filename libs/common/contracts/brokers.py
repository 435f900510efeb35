"""What trading asks of brokers behind HTTP. It reads these wishes itself, after the commit that recorded the attempt.

A broker's answers come back as ExecutionReported, like the paper venue's. And how our positions and theirs compare.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import Broker, Exchange, OrderPurpose, OrderType, Product, Series, Side, Validity
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, UserId

_SHARES_AND_THEIR_DERIVATIVES = (Exchange.NSE, Exchange.BSE, Exchange.NFO, Exchange.BFO)
EXCHANGES_AT: Mapping[Broker, tuple[Exchange, ...]] = {
    Broker.PAPER: (*_SHARES_AND_THEIR_DERIVATIVES, Exchange.CDS, Exchange.BCD, Exchange.MCX),
    Broker.ZERODHA: _SHARES_AND_THEIR_DERIVATIVES,
}
"""Where orders of an account at the broker may go. Zerodha counts currencies and commodities in contracts, and its dump
does not tell how much one is of; other brokers' dumps count units. An order could be a hundred times too large.
"""


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
    series: Series | None = None


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


class PositionsCompareRequested(Request):
    """Hold the account's positions against its broker's now, whatever the hour. Nothing is traded or booked."""

    account_id: AccountId
    user_id: UserId


class PositionClosedAtBroker(Event):
    """MIS of ours was closed by trades of others: its broker's own square-off, or its owner's in the broker's app.

    `price` is their average. `quantity` is signed, what we hold, and `version` that of our position: if it moved
    meanwhile nothing is booked.
    """

    account_id: AccountId
    instrument: InstrumentId
    product: Product
    quantity: int
    price: Decimal
    version: int
    closed_at: datetime


class PositionDifference(Value):
    """A position that we and the broker know differently. Of CNC only what was traded today: the rest are holdings.

    `broker_symbol` is in the broker's words (`NFO:NIFTY26DECFUT`), of a share without its series; `instrument` is None
    where we have no position of it and cannot tell which of ours it is.
    """

    broker_symbol: str
    instrument: InstrumentId | None
    product: Product
    ours: int
    theirs: int


class PositionsCompared(Event):
    """Where the account's positions and its broker's differ, all of it: said when that changes, and when asked for.

    `moving` are instruments that were left out, since an order of theirs is under way. While `problem` says why the
    broker's positions cannot be read, the differences are those that were seen at `compared_at` (None: never looked).
    `version` counts from 1.
    """

    account_id: AccountId
    user_id: UserId
    broker: Broker
    differences: tuple[PositionDifference, ...]
    moving: tuple[InstrumentId, ...] = ()
    problem: str = ""
    version: int
    compared_at: datetime | None
