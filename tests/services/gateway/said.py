"""What the other services say, for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from libs.common import ids
from libs.common.contracts.accounts import (
    Account,
    AccountDeleted,
    AccountDeleteRequested,
    AccountSaved,
    AccountSaveRequested,
)
from libs.common.contracts.algos import AlgoDeleted, AlgoDeleteRequested, AlgoSaved, AlgoSaveRequested
from libs.common.contracts.base import Envelope, Message
from libs.common.contracts.enums import (
    Broker,
    DenialRule,
    Exchange,
    FeedSource,
    InstrumentKind,
    OrderStatus,
    OrderType,
    Product,
    Side,
)
from libs.common.contracts.ids import AccountId, FillId, InstrumentId, OrderId, UserId
from libs.common.contracts.market import InstrumentListed, Quote
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderCancelRequested,
    OrderDenied,
    OrderModified,
    OrderRequested,
    OrdersCancelRequested,
    OrdersCancelStarted,
    OrderSubmitted,
    OrderTerms,
    SquareOffCompleted,
    SquareOffRequested,
    SquareOffStarted,
)
from libs.common.contracts.portfolio import FundsChanged, PositionChanged, PositionSettled, PositionState
from libs.common.contracts.risk import (
    PanicRaised,
    PanicRequested,
    PanicReset,
    PanicResetRequested,
    RiskLimitDeleted,
    RiskLimitDeleteRequested,
    RiskLimitSaved,
    RiskLimitSaveRequested,
)
from libs.common.contracts.signals import (
    SignalGroupDeleted,
    SignalGroupDeleteRequested,
    SignalGroupSaved,
    SignalGroupSaveRequested,
)

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
SBIN = InstrumentId("NSE:SBIN")


def quote(instrument: InstrumentId, ltp: float, at: datetime) -> Quote:
    day = dict.fromkeys(("open", "high", "low", "previous_close"), ltp)
    return Quote(
        instrument=instrument, at=at, source=FeedSource.REPLAYED, ltp=ltp, bid=ltp - 0.05, ask=ltp,
        bid_quantity=1, ask_quantity=1, volume=900, oi=0, **day,
    )  # fmt: skip


def listed(symbol: str) -> InstrumentListed:
    return InstrumentListed(
        instrument=InstrumentId(f"NSE:{symbol}"),
        exchange=Exchange.NSE,
        symbol=symbol,
        name=symbol,
        kind=InstrumentKind.EQUITY,
        lot_size=1,
        tick_size=Decimal("0.05"),
    )


def nothing(_: Message, __: Envelope) -> Sequence[Message]:
    return ()


def account_saved(user_id: UserId, account_id: AccountId, version: int = 1) -> AccountSaved:
    account = Account(account_id=account_id, user_id=user_id, name="Main", broker=Broker.PAPER)
    return AccountSaved(account_id=account_id, user_id=user_id, account=account, version=version)


def account_deleted(user_id: UserId, account_id: AccountId) -> AccountDeleted:
    return AccountDeleted(account_id=account_id, user_id=user_id)


def terms(user_id: UUID, account_id: UUID, order_id: UUID | None = None, at: datetime = NOW) -> OrderTerms:
    return OrderTerms(
        order_id=OrderId(order_id or ids.new_id()),
        account_id=AccountId(account_id),
        user_id=UserId(user_id),
        instrument=SBIN,
        side=Side.BUY,
        quantity=10,
        order_type=OrderType.LIMIT,
        product=Product.MIS,
        price=Decimal("812.50"),
        requested_at=at,
    )


def submitted(order: OrderTerms) -> OrderSubmitted:
    return OrderSubmitted(**_terms(order), margin=Decimal("1625"), epoch=0)


def denied(order: OrderTerms) -> OrderDenied:
    return OrderDenied(
        **_terms(order), rule=DenialRule.LOT_SIZE, reason="quantity 10 is no multiple of 75", limit="75", value="10"
    )


def accepted(order: OrderTerms, version: int = 2) -> OrderAccepted:
    return OrderAccepted(**fact(order, OrderStatus.ACCEPTED, version), broker_order_id="P-1")


def cancelled(order: OrderTerms, version: int = 3) -> OrderCancelled:
    return OrderCancelled(**fact(order, OrderStatus.CANCELLED, version), reason="asked for")


def modified(order: OrderTerms, quantity: int, version: int = 3) -> OrderModified:
    same = fact(order, OrderStatus.ACCEPTED, version)
    return OrderModified(
        **same, quantity=quantity, order_type=order.order_type, price=Decimal("813"), trigger_price=None
    )


def filled(order: OrderTerms, quantity: int = 10, version: int = 3) -> FillReported:
    now = fact(order, OrderStatus.FILLED if quantity == order.quantity else OrderStatus.PARTIALLY_FILLED, version)
    now |= {"filled_quantity": quantity, "average_price": Decimal("812.25")}
    return FillReported(
        **now,
        fill_id=FillId(ids.new_id()),
        broker_fill_id="T-1",
        side=order.side,
        product=order.product,
        quantity=quantity,
        price=Decimal("812.25"),
        filled_at=order.requested_at,
    )


def settled(order: OrderTerms, quantity: int = 10) -> PositionSettled:
    """What an order bought expired."""
    return PositionSettled(
        fill_id=FillId(ids.new_id()),
        account_id=order.account_id,
        user_id=order.user_id,
        strategy_id=order.strategy_id,
        instrument=order.instrument,
        product=order.product,
        side=Side.SELL,
        quantity=quantity,
        price=Decimal("154.35"),
        expiry=order.requested_at.date(),
        spot=InstrumentId("NSE_INDEX:NIFTY"),
        spot_price=Decimal("24154.35"),
        settled_at=order.requested_at,
    )


def position(order: OrderTerms, quantity: int = 10, version: int = 1) -> PositionChanged:
    net = PositionState(
        quantity=quantity,
        average_price=Decimal("812.25") if quantity else Decimal(0),
        realised_pnl=Decimal(0),
        bought_quantity=quantity,
        sold_quantity=0,
        bought_value=Decimal("812.25") * quantity,
        sold_value=Decimal(0),
    )
    return PositionChanged(
        account_id=order.account_id,
        user_id=order.user_id,
        instrument=order.instrument,
        product=order.product,
        net=net,
        strategy_id=order.strategy_id,
        book=net,
        margin=Decimal("1625"),
        version=version,
        order_id=order.order_id,
        fill_quantity=quantity,
    )


def closed(order: OrderTerms, realised: Decimal, version: int = 2) -> PositionChanged:
    """What an order opened was closed on the same day."""
    opened = position(order)
    sold = {"sold_quantity": opened.net.quantity, "sold_value": opened.net.bought_value + realised}
    flat = {"quantity": 0, "average_price": Decimal(0), "realised_pnl": realised, **sold}
    return _moved(opened, flat, version)


def next_day(order: OrderTerms, version: int = 3) -> PositionChanged:
    """The day is over on which that was closed."""
    return _moved(position(order, 0), {}, version)


def _moved(position: PositionChanged, net: dict[str, object], version: int) -> PositionChanged:
    state = position.net.model_copy(update=net)
    return position.model_copy(update={"net": state, "book": state, "margin": Decimal(0), "version": version})


def funds(order: OrderTerms, version: int = 1) -> FundsChanged:
    return FundsChanged(
        account_id=order.account_id,
        user_id=order.user_id,
        opening_balance=Decimal("10000000"),
        realised_pnl=Decimal(0),
        used_margin=Decimal("1625"),
        available=Decimal("9998375"),
        version=version,
    )


def _terms(order: OrderTerms) -> dict[str, object]:
    return {name: getattr(order, name) for name in OrderTerms.model_fields}


def fact(order: OrderTerms, status: OrderStatus, version: int) -> dict[str, object]:
    return {
        "order_id": order.order_id,
        "account_id": order.account_id,
        "user_id": order.user_id,
        "strategy_id": order.strategy_id,
        "instrument": order.instrument,
        "status": status,
        "version": version,
    }


def yes(request: Message, _: Envelope) -> Sequence[Message]:
    """Everybody agrees to everything."""
    return _about_one(request) or _deleted(request) or _about_many(request)


def _about_one(request: Message) -> Sequence[Message]:
    match request:
        case OrderRequested():
            return [submitted(request), accepted(request)]
        case OrderCancelRequested():
            return [cancelled(terms(request.user_id, request.account_id, request.order_id))]
        case AccountSaveRequested(account=account, expected_version=v):
            return [
                AccountSaved(account_id=account.account_id, user_id=account.user_id, account=account, version=v + 1)
            ]
        case AlgoSaveRequested(algo=algo, expected_version=v):
            return [AlgoSaved(algo_id=algo.algo_id, user_id=algo.user_id, algo=algo, version=v + 1)]
        case SignalGroupSaveRequested(group=group, expected_version=v):
            return [SignalGroupSaved(group_id=group.group_id, user_id=group.user_id, group=group, version=v + 1)]
        case RiskLimitSaveRequested(limit=limit, expected_version=v):
            return [RiskLimitSaved(limit_id=limit.limit_id, user_id=limit.user_id, limit=limit, version=v + 1)]
        case _:
            return ()


def _deleted(request: Message) -> Sequence[Message]:
    match request:
        case AccountDeleteRequested():
            return [AccountDeleted(account_id=request.account_id, user_id=request.user_id)]
        case AlgoDeleteRequested():
            return [AlgoDeleted(algo_id=request.algo_id, user_id=request.user_id)]
        case SignalGroupDeleteRequested():
            return [SignalGroupDeleted(group_id=request.group_id, user_id=request.user_id)]
        case RiskLimitDeleteRequested():
            return [RiskLimitDeleted(limit_id=request.limit_id, user_id=request.user_id)]
        case _:
            return ()


def _about_many(request: Message) -> Sequence[Message]:
    match request:
        case OrdersCancelRequested():
            return [OrdersCancelStarted(account_id=request.account_id, user_id=request.user_id, order_ids=())]
        case SquareOffRequested():
            scope = request.model_dump()
            return [SquareOffStarted(**scope, cancelling=0, closing=1), SquareOffCompleted(**scope)]
        case PanicRequested():
            scope = request.model_dump(exclude={"requested_by", "by_admin"})
            return [PanicRaised(**scope, epoch=1, raised_by=request.requested_by)]
        case PanicResetRequested():
            scope = request.model_dump(exclude={"requested_by", "by_admin"})
            return [PanicReset(**scope, epoch=1, reset_by=request.requested_by)]
        case _:
            return ()
