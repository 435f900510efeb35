"""What an account holds: positions and funds, as trading books them from fills."""

from decimal import Decimal

from libs.common.contracts.base import Event, Value
from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId, UserId


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
    `fill_quantity` of `order_id` made the change.
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


class FundsChanged(Event):
    """`available` = opening_balance + realised_pnl - used_margin. Used margin is open orders' and positions'."""

    account_id: AccountId
    user_id: UserId
    opening_balance: Decimal
    realised_pnl: Decimal
    used_margin: Decimal
    available: Decimal
    version: int
