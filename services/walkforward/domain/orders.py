"""An order in the venue's book, and the executions that tell of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from libs.common.contracts.enums import ExecutionKind, OrderStatus, OrderType, Side, Validity
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId
from libs.common.contracts.venue import ExecutionReported

STOPS = frozenset({OrderType.SL, OrderType.SL_M})
LIMITED = frozenset({OrderType.LIMIT, OrderType.SL})
OPEN = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})


@dataclass(frozen=True, slots=True)
class Order:
    """`priority_at` ranks it among orders of its price; it meets no market before `active_from` nor from `expires_at`.

    `seen` is the time of the newest market that it was decided on, None until the first: a market at or before it
    never fills it again. `executions` counts what was reported, which numbers the next report.
    """

    order_id: OrderId
    account_id: AccountId
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    status: OrderStatus
    priority_at: datetime
    active_from: datetime
    expires_at: datetime
    filled: int = 0
    triggered: bool = False
    seen: datetime | None = None
    executions: int = 0

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def leaves(self) -> int:
        return self.quantity - self.filled

    @property
    def is_dormant(self) -> bool:
        """A stop whose trigger price has not traded."""
        return self.order_type in STOPS and not self.triggered

    @property
    def limit(self) -> Decimal | None:
        """The worst price it takes; None for any price."""
        return self.price if self.order_type in LIMITED else None


@dataclass(frozen=True, slots=True)
class Change:
    """An order after something happened to it, and what the venue reports of that."""

    order: Order
    executions: tuple[ExecutionReported, ...] = ()

    def then(self, later: "Change") -> "Change":
        return Change(later.order, self.executions + later.executions)


def venue_order_id(order_id: OrderId) -> str:
    return f"WF-{order_id.hex}"


def report(
    order: Order,
    kind: ExecutionKind,
    at: datetime,
    *,
    quantity: int = 0,
    price: Decimal | None = None,
    reason: str = "",
) -> ExecutionReported:
    """The next execution of the order as it is now. Its id follows from the order and its number, so that
    a decision taken again after a crash reports the same execution."""
    return ExecutionReported(
        order_id=order.order_id,
        account_id=order.account_id,
        instrument=order.instrument,
        kind=kind,
        execution_id=f"{order.order_id.hex}-{order.executions}",
        venue_order_id=venue_order_id(order.order_id),
        quantity=quantity,
        price=price,
        leaves_quantity=order.leaves if order.is_open else 0,
        reason=reason,
        executed_at=at,
    )


def fill(order: Order, quantity: int, price: Decimal, at: datetime) -> Change:
    filled = order.filled + quantity
    status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
    after = replace(order, filled=filled, status=status, executions=order.executions + 1)
    return Change(after, (report(after, ExecutionKind.FILLED, at, quantity=quantity, price=price),))


def end(order: Order, status: OrderStatus, reason: str, at: datetime) -> Change:
    """The order is over with what it has: CANCELLED, EXPIRED or REJECTED."""
    after = replace(order, status=status, executions=order.executions + 1)
    return Change(after, (report(after, ExecutionKind(status.value), at, reason=reason),))


def expire(order: Order, at: datetime) -> Change:
    reason = "nothing to trade with at once" if order.validity is Validity.IOC else "the session is over"
    return end(order, OrderStatus.EXPIRED, reason, at)
