"""Positions: the account's net holding of an instrument and product, and each strategy's book of it.

Kept as sums, never as averages: `cost` is what the open quantity was bought for (negative: sold for). A fill that
reduces takes its share of the cost away, and what is taken plus what stays is always what was there. So realised
profit minus open cost equals the cash that moved, to the last digit, and a round trip realises exactly its cash flow.
The average price is only ever a view: cost / quantity.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Protocol

from libs.common.contracts.enums import Product
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, StrategyId, UserId
from libs.common.contracts.portfolio import PositionChanged, PositionState
from services.trading.domain.money import MICRO, PAISA, ZERO, average, part_of


class Held(Protocol):
    """Whatever names a net position: an order, a book, the position itself."""

    @property
    def account_id(self) -> AccountId: ...
    @property
    def instrument(self) -> InstrumentId: ...
    @property
    def product(self) -> Product: ...


class Placed(Held, Protocol):
    """Whatever names a book: an order, the book itself."""

    @property
    def strategy_id(self) -> StrategyId | None: ...


NetKey = tuple[AccountId, InstrumentId, Product]
BookKey = tuple[AccountId, InstrumentId, Product, StrategyId | None]


def net_key(of: Held) -> NetKey:
    return of.account_id, of.instrument, of.product


def book_key(of: Placed) -> BookKey:
    return of.account_id, of.instrument, of.product, of.strategy_id


@dataclass(frozen=True, slots=True)
class Holding:
    """A signed quantity with its cost. Bought, sold and realised are today's (IST)."""

    quantity: int = 0
    cost: Decimal = ZERO
    realised_pnl: Decimal = ZERO
    bought_quantity: int = 0
    sold_quantity: int = 0
    bought_value: Decimal = ZERO
    sold_value: Decimal = ZERO

    @property
    def traded_today(self) -> bool:
        return bool(self.bought_quantity or self.sold_quantity)


@dataclass(frozen=True, slots=True)
class Net:
    """`margin` is what the open quantity blocks; `order_id` moved it last."""

    account_id: AccountId
    user_id: UserId
    instrument: InstrumentId
    product: Product
    order_id: OrderId
    holding: Holding = field(default_factory=Holding)
    margin: Decimal = ZERO
    version: int = 0


@dataclass(frozen=True, slots=True)
class Book:
    """What one strategy holds of a net position; manual orders book under no strategy."""

    account_id: AccountId
    strategy_id: StrategyId | None
    instrument: InstrumentId
    product: Product
    holding: Holding = field(default_factory=Holding)


def closing(holding: Holding, signed: int) -> int:
    """How many units of a fill of `signed` reduce the holding; the others open or add."""
    return min(abs(signed), abs(holding.quantity)) if holding.quantity * signed < 0 else 0


def trade(holding: Holding, signed: int, price: Decimal) -> Holding:
    """Average cost: adding averages, reducing realises, crossing zero opens at the fill's price."""
    units, sign = abs(signed), 1 if signed > 0 else -1
    closed = closing(holding, signed)
    removed = part_of(holding.cost, closed, abs(holding.quantity), MICRO) if closed else ZERO
    value = price * units
    return Holding(
        quantity=holding.quantity + signed,
        cost=holding.cost - removed + sign * price * (units - closed),
        realised_pnl=holding.realised_pnl - sign * price * closed - removed,
        bought_quantity=holding.bought_quantity + (units if sign > 0 else 0),
        sold_quantity=holding.sold_quantity + (units if sign < 0 else 0),
        bought_value=holding.bought_value + (value if sign > 0 else ZERO),
        sold_value=holding.sold_value + (value if sign < 0 else ZERO),
    )


def move(net: Net, signed: int, price: Decimal, margin: Decimal, order_id: OrderId) -> Net:
    """A fill that brings `margin` with it. What it closes frees the position's margin in proportion."""
    closed = closing(net.holding, signed)
    freed = part_of(net.margin, closed, abs(net.holding.quantity), PAISA) if closed else ZERO
    return replace(
        net,
        holding=trade(net.holding, signed, price),
        margin=net.margin - freed + margin,
        version=net.version + 1,
        order_id=order_id,
    )


def carry(holding: Holding) -> Holding:
    """Into a new trading day: the quantity and its average price stay, the day's figures start again."""
    return Holding(quantity=holding.quantity, cost=holding.cost)


def changed(net: Net, book: Book, fill_quantity: int) -> PositionChanged:
    return PositionChanged(
        account_id=net.account_id,
        user_id=net.user_id,
        instrument=net.instrument,
        product=net.product,
        net=state_of(net.holding),
        strategy_id=book.strategy_id,
        book=state_of(book.holding),
        margin=net.margin,
        version=net.version,
        order_id=net.order_id,
        fill_quantity=fill_quantity,
    )


def state_of(holding: Holding) -> PositionState:
    return PositionState(
        quantity=holding.quantity,
        average_price=average(holding.cost, holding.quantity),
        realised_pnl=holding.realised_pnl,
        bought_quantity=holding.bought_quantity,
        sold_quantity=holding.sold_quantity,
        bought_value=holding.bought_value,
        sold_value=holding.sold_value,
    )
