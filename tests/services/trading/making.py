"""Messages and states to begin a test with; each says only what its test is about."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import UUID

from libs.common.contracts.accounts import Account, AccountSaveRequested
from libs.common.contracts.enums import (
    Broker,
    ExecutionKind,
    OrderPurpose,
    OrderType,
    Product,
    RiskLevel,
    Side,
    SquareOffReason,
    Validity,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, PanicId, SquareOffId, StrategyId, UserId
from libs.common.contracts.masters import ContractSettled
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared, SquareOffRequested
from libs.common.contracts.risk import PanicRequested, PanicResetRequested
from libs.common.contracts.venue import ExecutionReported
from libs.common.testing import NOON
from services.trading.domain.orders import Order

SBIN = InstrumentId("NSE:SBIN")
INFY = InstrumentId("NSE:INFY")
CALL = InstrumentId("NFO:NIFTY23NOV2624000CE")
USER = UserId(UUID("01975d3e-0000-7000-8000-000000000001"))
ACCOUNT = AccountId(UUID("01975d3e-0000-7000-8000-000000000002"))
ALPHA = StrategyId(UUID("01975d3e-0000-7000-8000-00000000000a"))
BETA = StrategyId(UUID("01975d3e-0000-7000-8000-00000000000b"))

_numbers = count(1)


def order_id(n: int | None = None) -> OrderId:
    return OrderId(UUID(int=(0x01975D3E << 96) | (0x7 << 76) | (0x2 << 62) | (n or next(_numbers) + 1000)))


def account_save(
    *, version: int = 0, active: bool = True, capital: int = 1_000_000, account_id: AccountId = ACCOUNT
) -> AccountSaveRequested:
    account = Account(
        account_id=account_id,
        user_id=USER,
        name="Family",
        broker=Broker.PAPER,
        active=active,
        opening_balance=Decimal(capital),
    )
    return AccountSaveRequested(account_id=account_id, user_id=USER, account=account, expected_version=version)


def cleared(
    side: Side = Side.BUY,
    quantity: int = 10,
    *,
    order: OrderId | None = None,
    strategy: StrategyId | None = None,
    instrument: InstrumentId = SBIN,
    margin: str = "1000",
    unit: str | None = None,
    epoch: int = 0,
    purpose: OrderPurpose = OrderPurpose.ENTRY,
    account_id: AccountId = ACCOUNT,
    product: Product = Product.MIS,
) -> OrderCleared:
    """`unit` is the margin of one unit; where it is not told, all of the quantity shares in `margin`."""
    return OrderCleared(
        order_id=order or order_id(),
        account_id=account_id,
        user_id=USER,
        strategy_id=strategy,
        instrument=instrument,
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        product=product,
        validity=Validity.DAY,
        price=Decimal("100.00"),
        purpose=purpose,
        requested_at=NOON,
        epoch=epoch,
        margin=Decimal(margin),
        unit_margin=Decimal(margin) / quantity if unit is None else Decimal(unit),
    )


def execution(
    of: OrderCleared | Order,
    kind: ExecutionKind,
    quantity: int = 0,
    price: str | None = None,
    *,
    leaves: int = 0,
    name: str | None = None,
    reason: str = "",
    at: datetime = NOON,
) -> ExecutionReported:
    return ExecutionReported(
        order_id=of.order_id,
        account_id=of.account_id,
        instrument=of.instrument,
        kind=kind,
        execution_id=name or f"{of.order_id.hex}-{next(_numbers)}",
        venue_order_id=f"WF-{of.order_id.hex}",
        quantity=quantity,
        price=None if price is None else Decimal(price),
        leaves_quantity=leaves,
        reason=reason,
        executed_at=at,
    )


def accepted(of: OrderCleared | Order) -> ExecutionReported:
    return execution(of, ExecutionKind.ACCEPTED)


def filled(
    of: OrderCleared | Order, quantity: int, price: str = "100", *, leaves: int = 0, name: str | None = None
) -> ExecutionReported:
    return execution(of, ExecutionKind.FILLED, quantity, price, leaves=leaves, name=name)


def cancelled(of: OrderCleared | Order) -> ExecutionReported:
    return execution(of, ExecutionKind.CANCELLED, reason="cancelled on request")


def modified(of: OrderCleared | Order, quantity: int, price: str = "101") -> ExecutionReported:
    report = execution(of, ExecutionKind.MODIFIED, quantity, price)
    return report.model_copy(update={"order_type": OrderType.LIMIT})


def change_to(
    of: OrderCleared | Order,
    quantity: int,
    price: str = "101",
    *,
    margin: str = "1500",
    unit: str | None = None,
    epoch: int = 0,
) -> OrderModifyCleared:
    return OrderModifyCleared(
        order_id=of.order_id,
        account_id=of.account_id,
        user_id=USER,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        price=Decimal(price),
        trigger_price=None,
        margin=Decimal(margin),
        epoch=epoch,
        unit_margin=Decimal(margin) / quantity if unit is None else Decimal(unit),
    )


def square_off(
    *,
    strategy: StrategyId | None = None,
    instrument: InstrumentId | None = None,
    product: Product | None = None,
    reason: SquareOffReason = SquareOffReason.CLOSE,
    n: int = 1,
) -> SquareOffRequested:
    return SquareOffRequested(
        square_off_id=SquareOffId(order_id(500 + n)),
        account_id=ACCOUNT,
        user_id=USER,
        strategy_id=strategy,
        instrument=instrument,
        product=product,
        reason=reason,
    )


def worth(price: str, instrument: InstrumentId = CALL) -> ContractSettled:
    return ContractSettled(
        instrument=instrument,
        expiry=date(2026, 11, 23),
        price=Decimal(price),
        spot=InstrumentId("NSE_INDEX:NIFTY"),
        spot_price=Decimal(24_000) + Decimal(price),
        spot_minute=NOON,
        source="simulated",
    )


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def panic(scope: str = "ALL", n: int = 1, *, by_admin: bool = False) -> PanicRequested:
    panic_id, level = PanicId(order_id(700 + n)), RiskLevel.ALL
    return PanicRequested(
        panic_id=panic_id, scope=scope, level=level, requested_by=USER, reason="fat finger", by_admin=by_admin
    )


def reset(scope: str = "ALL", *, by_admin: bool = False) -> PanicResetRequested:
    panic_id, level = PanicId(order_id(800)), RiskLevel.ALL
    return PanicResetRequested(panic_id=panic_id, scope=scope, level=level, requested_by=USER, by_admin=by_admin)
