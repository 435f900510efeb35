"""Orders, from the wish to the last fill. Prices are rupees; quantities are units, not lots."""

from datetime import datetime
from decimal import Decimal

from libs.common.contracts.base import Event, Request, Value
from libs.common.contracts.enums import (
    DenialRule,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Series,
    SettledAs,
    Side,
    SquareOffReason,
    Validity,
)
from libs.common.contracts.ids import (
    AccountId,
    FillId,
    InstrumentId,
    OrderId,
    SquareOffId,
    StrategyId,
    UserId,
)


class OrderTerms(Value):
    """Everything that defines an order; carried whole by each message that starts a stage.

    `price` is set for LIMIT and SL, `trigger_price` for SL and SL-M.
    """

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None = None
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity = Validity.DAY
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    purpose: OrderPurpose = OrderPurpose.ENTRY
    square_off_id: SquareOffId | None = None
    requested_at: datetime


class OrderRequested(OrderTerms, Request):
    """A wish to trade. Risk answers OrderCleared or OrderDenied.

    After `expires_at` risk denies it: an order that waited out an outage must not surprise its owner.
    `epoch` is the panic epoch that the requester had seen (0 for people and algos; trading stamps its exits).
    """

    expires_at: datetime
    epoch: int = 0


class OrderCleared(OrderTerms, Event):
    """Risk let the order through; it may go to the broker while `epoch` is still the scope's epoch.

    `epoch` is the sum of the panic epochs of all, the user, the account and the strategy.
    `margin` is what the order blocks: `unit_margin` for each of its `increasing` units, those that reduce no position.
    Should others open one after all, another order having closed what they were to, they block as much from then on.
    `series` is the share's of today, which is part of its name at some brokers.
    """

    epoch: int
    margin: Decimal
    increasing: int = 0
    unit_margin: Decimal = Decimal(0)
    series: Series | None = None


class OrderDenied(OrderTerms, Event):
    """We refused the order. The broker never saw it (compare OrderRejected)."""

    rule: DenialRule
    reason: str
    limit: str | None = None
    value: str | None = None


class OrderModifyRequested(Request):
    """A wish to change an open order. Fields left None stay as they are; `quantity` is the new total."""

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    quantity: int | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    order_type: OrderType | None = None
    expires_at: datetime


class OrderModifyCleared(Event):
    """Risk let the change through. All fields hold the new terms."""

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None
    margin: Decimal
    epoch: int
    increasing: int = 0
    unit_margin: Decimal = Decimal(0)


class OrderModifyRefused(Event):
    """The change did not happen, refused by risk (`rule` set) or by the venue; the order stays as it was."""

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    rule: DenialRule | None = None
    reason: str
    limit: str | None = None
    value: str | None = None


class OrderCancelRequested(Request):
    order_id: OrderId
    account_id: AccountId
    user_id: UserId


class OrdersCancelRequested(Request):
    """Cancel every open order of the account, or of one strategy or instrument in it."""

    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None = None
    instrument: InstrumentId | None = None


class OrderSettleRequested(Request):
    """`user_id` says what became of an order whose outcome is unknown, and whose day is over: its broker's book of that
    day is gone. `quantity` of it traded, at `price` on average. Refused with `conflict` for any other order.
    """

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    outcome: SettledAs
    quantity: int = 0
    price: Decimal | None = None
    broker_order_id: str = ""
    reason: str


class OrdersCancelStarted(Event):
    """Cancels were sent for these orders, of very many the first; each order's own event tells how it ended."""

    account_id: AccountId
    user_id: UserId
    order_ids: tuple[OrderId, ...]


class OrderFact(Event):
    """What every later event of an order says. `version` counts the order's events from 1 without a gap."""

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None = None
    instrument: InstrumentId
    status: OrderStatus
    version: int
    filled_quantity: int = 0
    average_price: Decimal | None = None


class OrderSubmitted(OrderTerms, Event):
    """The order is on its way to the venue: the attempt is recorded, its outcome not known yet. Version 1.

    `margin` and `unit_margin` are those of its clearance; the latter is 0 where it is not known.
    """

    margin: Decimal
    epoch: int
    version: int = 1
    unit_margin: Decimal = Decimal(0)


class OrderAccepted(OrderFact):
    broker_order_id: str


class OrderRejected(OrderFact):
    """The venue refused the order (compare OrderDenied)."""

    reason: str


class OrderReopened(OrderFact):
    """The venue has an order that we took for refused, and told of as OrderRejected: it is open, and may trade.

    `side` is None in messages from before it was told.
    """

    broker_order_id: str
    purpose: OrderPurpose
    quantity: int
    side: Side | None = None


class OrderOutcomeUnknown(OrderFact):
    """The venue did not answer, or nobody saw how the order ended there. It is never re-sent.

    The venue's order book, searched by our tag, will decide; once that is gone a person.
    """

    reason: str


class OrderSettled(OrderFact):
    """A person told what became of it. What follows from that is reported as if its venue had told."""

    settled_by: UserId
    outcome: SettledAs
    traded_quantity: int
    traded_price: Decimal | None
    reason: str


class OrderTriggered(OrderFact):
    """The trigger price of a stop order traded; it is live in the book now."""


class OrderModified(OrderFact):
    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None


class OrderCancelled(OrderFact):
    reason: str


class OrderCancelRefused(OrderFact):
    """Too late or unknown to the venue; the order stays as it is."""

    reason: str


class OrderExpired(OrderFact):
    """The session (DAY) or the instant (IOC) is over; what was not filled is gone."""

    reason: str


class FillReported(OrderFact):
    """One execution, booked once. `filled_quantity` and `average_price` are the order's totals with it."""

    fill_id: FillId
    broker_fill_id: str
    side: Side
    product: Product
    quantity: int
    price: Decimal
    filled_at: datetime


class SquareOffRequested(Request):
    """Cancel what is pending and close what is open in the account, until it is flat.

    `strategy_id`, `instrument` and `product` narrow it. With a strategy, exactly that strategy's own book is closed.
    """

    square_off_id: SquareOffId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None = None
    instrument: InstrumentId | None = None
    product: Product | None = None
    reason: SquareOffReason


class SquareOffStarted(Event):
    square_off_id: SquareOffId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId | None
    product: Product | None
    reason: SquareOffReason
    cancelling: int
    closing: int


class LeftOpen(Value):
    """What a square-off could not close, of one strategy's book or of none's, and why. `quantity` is signed.

    `square_off_id` goes on with it, and closes it when it can be; None: nobody will, unless asked again.
    """

    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    quantity: int
    reason: str
    square_off_id: SquareOffId | None = None


class SquareOffCompleted(Event):
    """Nothing is pending in the scope, and nothing is open but what is `left`, since its market is closed, and
    contracts that `expired` or were delisted: nobody can close those.
    """

    square_off_id: SquareOffId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId | None
    product: Product | None
    reason: SquareOffReason
    expired: tuple[InstrumentId, ...] = ()
    left: tuple[LeftOpen, ...] = ()
