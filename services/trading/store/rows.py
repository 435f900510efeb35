"""Between rows and the domain. Manual orders book under the nil UUID, since a key column cannot be null."""

from typing import TypeAlias
from uuid import UUID

import asyncpg

from libs.common.contracts.enums import (
    Broker,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Side,
    SquareOffReason,
    Validity,
)
from libs.common.contracts.ids import StrategyId
from libs.common.contracts.orders import OrderModifyCleared
from services.trading.domain.accounts import Funds, TradingAccount
from services.trading.domain.orders import Order
from services.trading.domain.panics import PanicEpoch
from services.trading.domain.positions import Book, Holding, Net
from services.trading.domain.square_offs import SquareOff

Row: TypeAlias = tuple[object, ...]

NIL = StrategyId(UUID(int=0))


def account(row: asyncpg.Record) -> TradingAccount:
    return TradingAccount(
        account_id=row["account_id"],
        user_id=row["user_id"],
        broker=Broker(row["broker"]),
        active=row["active"],
        deleted=row["deleted"],
        capital=row["capital"],
        version=row["version"],
        funds=Funds(row["opening_balance"], row["realised_pnl"], row["used_margin"], row["funds_version"]),
        day=row["day"],
        square_offs=row["square_offs"],
    )


def account_row(of: TradingAccount) -> Row:
    funds = of.funds
    return (
        of.account_id,
        of.active,
        of.deleted,
        of.capital,
        of.version,
        funds.opening_balance,
        funds.realised_pnl,
        funds.used_margin,
        funds.version,
        of.day,
        of.square_offs,
    )


def order(row: asyncpg.Record) -> Order:
    change = row["change"]
    return Order(
        order_id=row["order_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        strategy_id=row["strategy_id"],
        instrument=row["instrument"],
        side=Side(row["side"]),
        quantity=row["quantity"],
        order_type=OrderType(row["order_type"]),
        product=Product(row["product"]),
        validity=Validity(row["validity"]),
        price=row["price"],
        trigger_price=row["trigger_price"],
        purpose=OrderPurpose(row["purpose"]),
        square_off_id=row["square_off_id"],
        requested_at=row["requested_at"],
        tag=row["tag"],
        status=OrderStatus(row["status"]),
        version=row["version"],
        epoch=row["epoch"],
        margin=row["margin"],
        expires_at=row["expires_at"],
        filled_quantity=row["filled_quantity"],
        filled_value=row["filled_value"],
        broker_order_id=row["broker_order_id"],
        triggered=row["triggered"],
        cancel_requested_at=row["cancel_requested_at"],
        change=None if change is None else OrderModifyCleared.model_validate_json(change),
    )


def new_order_row(of: Order) -> Row:
    return (
        of.order_id,
        of.account_id,
        of.user_id,
        of.strategy_id,
        of.instrument,
        of.side,
        of.quantity,
        of.order_type,
        of.product,
        of.validity,
        of.price,
        of.trigger_price,
        of.purpose,
        of.square_off_id,
        of.requested_at,
        of.tag,
        of.status,
        of.is_open,
        of.version,
        of.epoch,
        of.margin,
        of.expires_at,
        of.filled_quantity,
        of.filled_value,
        of.broker_order_id,
        of.triggered,
        of.cancel_requested_at,
        _change(of),
    )


def order_row(of: Order) -> Row:
    return (
        of.order_id,
        of.quantity,
        of.order_type,
        of.price,
        of.trigger_price,
        of.status,
        of.is_open,
        of.version,
        of.epoch,
        of.margin,
        of.filled_quantity,
        of.filled_value,
        of.broker_order_id,
        of.triggered,
        of.cancel_requested_at,
        _change(of),
    )


def _change(of: Order) -> str | None:
    return None if of.change is None else of.change.model_dump_json()


def net(row: asyncpg.Record) -> Net:
    return Net(
        account_id=row["account_id"],
        user_id=row["user_id"],
        instrument=row["instrument"],
        product=Product(row["product"]),
        order_id=row["order_id"],
        holding=_holding(row),
        margin=row["margin"],
        version=row["version"],
    )


def net_row(of: Net) -> Row:
    key = (of.account_id, of.instrument, of.product, of.user_id, of.order_id)
    return (*key, *_holding_row(of.holding), of.margin, of.version)


def book(row: asyncpg.Record) -> Book:
    strategy_id = row["strategy_id"]
    return Book(
        account_id=row["account_id"],
        strategy_id=None if strategy_id == NIL else strategy_id,
        instrument=row["instrument"],
        product=Product(row["product"]),
        holding=_holding(row),
    )


def book_row(of: Book) -> Row:
    return (of.account_id, of.instrument, of.product, of.strategy_id or NIL, *_holding_row(of.holding))


def _holding(row: asyncpg.Record) -> Holding:
    return Holding(
        row["quantity"],
        row["cost"],
        row["realised_pnl"],
        row["bought_quantity"],
        row["sold_quantity"],
        row["bought_value"],
        row["sold_value"],
    )


def _holding_row(of: Holding) -> Row:
    return (
        of.quantity,
        of.cost,
        of.realised_pnl,
        of.bought_quantity,
        of.sold_quantity,
        of.bought_value,
        of.sold_value,
    )


def square_off(row: asyncpg.Record) -> SquareOff:
    product = row["product"]
    return SquareOff(
        square_off_id=row["square_off_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        strategy_id=row["strategy_id"],
        instrument=row["instrument"],
        product=None if product is None else Product(product),
        reason=SquareOffReason(row["reason"]),
        started_at=row["started_at"],
        failures=row["failures"],
        retry_at=row["retry_at"],
        completed_at=row["completed_at"],
    )


def square_off_row(of: SquareOff) -> Row:
    return (
        of.square_off_id,
        of.account_id,
        of.user_id,
        of.strategy_id,
        of.instrument,
        of.product,
        of.reason,
        of.started_at,
        of.failures,
        of.retry_at,
        of.completed_at,
    )


def epoch(row: asyncpg.Record) -> PanicEpoch:
    return PanicEpoch(row["scope"], row["epoch"], row["halted"], row["panic_id"])


def epoch_row(of: PanicEpoch) -> Row:
    return of.scope, of.epoch, of.halted, of.panic_id
