"""What an account holds: positions and funds, as trading books them from fills."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from libs.common.contracts.base import Event, Value
from libs.common.contracts.enums import Product, Side
from libs.common.contracts.ids import AccountId, FillId, InstrumentId, OrderId, StrategyId, UserId
from libs.common.contracts.masters import CorporateActionKind


class PositionState(Value):
    """A signed quantity with its average entry price (0 when flat) and the profit realised so far today."""

    quantity: int
    average_price: Decimal
    realised_pnl: Decimal
    bought_quantity: int
    sold_quantity: int
    bought_value: Decimal
    sold_value: Decimal


class PositionChanged(Event):
    """A fill moved a position. `net` is the account's (instrument, product); `book` is the strategy's share of it.

    `margin` is what the net position blocks now. `version` counts the net position's changes.
    `fill_quantity` of `order_id` made the change; 0 when no order did: a new day began, or PositionSettled or
    PositionAdjusted came before.
    """

    account_id: AccountId
    user_id: UserId
    instrument: InstrumentId
    product: Product
    net: PositionState
    strategy_id: StrategyId | None
    book: PositionState
    margin: Decimal
    version: int
    order_id: OrderId
    fill_quantity: int


class PositionSettled(Event):
    """What a book held of an expired contract was closed in cash, at the price that ContractSettled told.

    Or what it held in MIS was closed at its broker past us, at the price that PositionClosedAtBroker told: then `spot`
    is the instrument itself, at that price, and `expiry` the day.

    `side` and `quantity` are those of the closing. There is no order of ours, and no venue heard of it from us; the
    PositionChanged that follows tells what it made of the position. `fill_id` is its place in the tradebook.
    """

    fill_id: FillId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    side: Side
    quantity: int
    price: Decimal
    expiry: date
    spot: InstrumentId
    spot_price: Decimal
    settled_at: datetime

    @property
    def was_closed_at_broker(self) -> bool:
        return self.spot == self.instrument


class PositionUnsettled(Event):
    """The contract expired without a settlement price: what an account holds of it stays open, and nobody can
    close it. Should the price come after all, PositionSettled follows. `reason` is for people.
    """

    account_id: AccountId
    user_id: UserId
    instrument: InstrumentId
    product: Product
    quantity: int
    expiry: date
    reason: str


class BookAdjusted(Value):
    """What a strategy, or whoever trades by hand, held before and holds now."""

    strategy_id: StrategyId | None
    before: int
    quantity: int


class PositionAdjusted(Event):
    """What a paper account carried into the ex-date of a split or bonus is another number of shares at another average
    price, for the same cost; nothing is realised.

    A split made `new` shares of `old`, a bonus gave `new` for `old` held. A fraction of a share is paid out at what it
    had cost, and what it blocked is free; the whole ones are shared out to the `books`. PositionChanged follows for
    each of them.
    """

    adjustment_id: UUID
    account_id: AccountId
    user_id: UserId
    instrument: InstrumentId
    product: Product
    kind: CorporateActionKind
    ex_date: date
    old: int
    new: int
    before: int
    quantity: int
    books: tuple[BookAdjusted, ...]


class PositionUnadjusted(Event):
    """What an account at a broker carried into the ex-date of a split or bonus is `shares` shares from now on, of which
    `quantity` are booked here: when the broker delivers the others is its own affair. Profits of it are shown as of
    those that are booked; limits count the others as well, until the booked ones are sold.
    """

    account_id: AccountId
    user_id: UserId
    instrument: InstrumentId
    product: Product
    kind: CorporateActionKind
    ex_date: date
    old: int
    new: int
    quantity: int
    shares: int


class FundsChanged(Event):
    """`available` = opening_balance + realised_pnl - used_margin. Used margin is open orders' and positions'."""

    account_id: AccountId
    user_id: UserId
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    version: int
