"""The order state machine: what a venue's report makes of an order, in whatever order the reports come.

    SUBMITTED ─▶ ACCEPTED ─▶ PARTIALLY_FILLED ─▶ FILLED
      │    │       │ │  ▲           │ │
      │    └───────┴▶ OUTCOME_UNKNOWN ◀┘
      └──────────────┴──┴───────────┴──▶ CANCELLED | EXPIRED | REJECTED

A final order stays what it is, but for fills: those are booked whenever they come, since money moved. And an order
that we took for refused, because its venue's book lacked it, opens again when the venue has it: from REJECTED to
ACCEPTED or PARTIALLY_FILLED, which OrderReopened tells.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

from libs.common.contracts.base import Event
from libs.common.contracts.enums import ExecutionKind, OrderStatus
from libs.common.contracts.ids import FillId
from libs.common.contracts.orders import (
    FillReported,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderModified,
    OrderModifyRefused,
    OrderOutcomeUnknown,
    OrderRejected,
    OrderReopened,
    OrderTriggered,
)
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.money import PAISA, ZERO, part_of
from services.trading.domain.orders import AWAITED, Order, cancel_refused, fact

Step = tuple[Order, list[Event]]

_ENDINGS: dict[ExecutionKind, tuple[OrderStatus, type[OrderRejected | OrderCancelled | OrderExpired]]] = {
    ExecutionKind.REJECTED: (OrderStatus.REJECTED, OrderRejected),
    ExecutionKind.CANCELLED: (OrderStatus.CANCELLED, OrderCancelled),
    ExecutionKind.EXPIRED: (OrderStatus.EXPIRED, OrderExpired),
}


def report(order: Order, execution: ExecutionReported, fill_id: FillId) -> Step:
    """`fill_id` names the fill if the report is one. Reports that tell nothing new return the order itself."""
    match execution.kind:
        case ExecutionKind.ACCEPTED | ExecutionKind.UNKNOWN | ExecutionKind.FOUND | ExecutionKind.UNSEEN:
            return _PRESENCE[execution.kind](order, execution)
        case ExecutionKind.FILLED:
            return _fill(order, execution, fill_id)
        case ExecutionKind.TRIGGERED:
            return _trigger(order, execution)
        case ExecutionKind.MODIFIED:
            return _modify(order, execution)
        case ExecutionKind.MODIFY_REJECTED:
            return _keep_terms(order, execution)
        case ExecutionKind.CANCEL_REJECTED:
            after, refused = cancel_refused(replace(order, cancel_requested_at=None), execution.reason)
            return after, [refused]
        case ExecutionKind.REJECTED | ExecutionKind.CANCELLED | ExecutionKind.EXPIRED:
            return _end(order, execution)


def is_overfill(order: Order) -> bool:
    return order.filled_quantity > order.quantity and order.change is None


def has_to_cancel_again(before: Order, after: Order) -> bool:
    """Who asked for a cancel heard that the order was rejected, and it is open. Of exits their square-offs decide."""
    is_reopened = before.status is OrderStatus.REJECTED and after.is_open
    return is_reopened and before.cancel_requested_at is not None and not after.is_exit


def _accept(order: Order, execution: ExecutionReported) -> Step:
    if order.status not in AWAITED:
        return order, []
    after = _next(replace(order, broker_order_id=execution.venue_order_id), OrderStatus.ACCEPTED)
    return after, [OrderAccepted(**fact(after), broker_order_id=execution.venue_order_id)]


def _lose_sight(order: Order, execution: ExecutionReported) -> Step:
    """Nobody knows whether the venue has it, or how it ended there; whatever comes next tells."""
    if order.status not in _LOST_FROM[execution.kind]:
        return order, []
    after = _next(order, OrderStatus.OUTCOME_UNKNOWN)
    return after, [OrderOutcomeUnknown(**fact(after), reason=execution.reason)]


def _reopen(order: Order, execution: ExecutionReported) -> Step:
    """We took it for refused, and the venue has it after all: it is open, and what it trades is ours.

    A cancel that was asked for before went nowhere, since there was nothing to cancel: it has to be asked for anew.
    """
    if order.status is not OrderStatus.REJECTED:
        return _accept(order, execution)
    status = OrderStatus.PARTIALLY_FILLED if order.filled_quantity else OrderStatus.ACCEPTED
    found = replace(order, broker_order_id=execution.venue_order_id, cancel_requested_at=None)
    after = _next(found, status)
    said = OrderReopened(
        **fact(after),
        broker_order_id=execution.venue_order_id,
        purpose=after.purpose,
        quantity=after.quantity,
        side=after.side,
    )
    return after, [said]


_LOST_FROM: Mapping[ExecutionKind, frozenset[OrderStatus]] = {
    ExecutionKind.UNKNOWN: frozenset({OrderStatus.SUBMITTED}),
    ExecutionKind.UNSEEN: frozenset({OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED}),
}
"""That nobody answered for its placing may be heard after the order itself."""

_PRESENCE: Mapping[ExecutionKind, Callable[[Order, ExecutionReported], Step]] = {
    ExecutionKind.ACCEPTED: _accept,
    ExecutionKind.UNKNOWN: _lose_sight,
    ExecutionKind.FOUND: _reopen,
    ExecutionKind.UNSEEN: _lose_sight,
}


def _fill(order: Order, execution: ExecutionReported, fill_id: FillId) -> Step:
    """A fill implies the acceptance, should that be late."""
    price = execution.price
    if price is None:
        raise ValueError(f"fill {execution.execution_id} of order {order.order_id} has no price")
    accepted, events = _accept(order, execution)
    filled = replace(
        accepted,
        filled_quantity=accepted.filled_quantity + execution.quantity,
        filled_value=accepted.filled_value + price * execution.quantity,
    )
    after = _next(filled, _status_of(filled, execution.leaves_quantity))
    said = FillReported(
        **fact(after),
        fill_id=fill_id,
        broker_fill_id=execution.execution_id,
        side=after.side,
        product=after.product,
        quantity=execution.quantity,
        price=price,
        filled_at=execution.executed_at,
    )
    return after, [*events, said]


def _status_of(order: Order, leaves: int) -> OrderStatus:
    """Complete when all is filled, unless the venue works on a larger quantity that it has not told us of yet."""
    quantity, change = order.quantity, order.change
    if change is not None and change.quantity > quantity and (leaves > 0 or order.filled_quantity > quantity):
        quantity = change.quantity
    if order.filled_quantity >= quantity:
        return OrderStatus.FILLED
    return order.status if order.status.is_final else OrderStatus.PARTIALLY_FILLED


def _trigger(order: Order, execution: ExecutionReported) -> Step:
    if order.status.is_final or order.triggered:
        return order, []
    accepted, events = _accept(order, execution)
    after = _next(replace(accepted, triggered=True), accepted.status)
    return after, [*events, OrderTriggered(**fact(after))]


def _modify(order: Order, execution: ExecutionReported) -> Step:
    """The venue's terms hold. A quantity that is filled already completes the order; a larger one reopens it."""
    accepted, events = _accept(order, execution)
    quantity = execution.quantity or accepted.quantity
    margin, unit_margin = _margin_of(accepted, quantity)
    changed = replace(
        accepted,
        quantity=quantity,
        order_type=execution.order_type or accepted.order_type,
        price=execution.price,
        trigger_price=execution.trigger_price,
        margin=margin,
        unit_margin=unit_margin,
        change=None,
    )
    after = _next(changed, _status_under(changed))
    said = OrderModified(
        **fact(after),
        quantity=after.quantity,
        order_type=after.order_type,
        price=after.price,
        trigger_price=after.trigger_price,
    )
    return after, [*events, said]


def _margin_of(order: Order, quantity: int) -> tuple[Decimal, Decimal]:
    """What risk asked for these terms, in all and of a unit; for terms that the venue chose itself, in proportion, and
    of a unit the dearer.
    """
    change = order.change
    if change is not None and change.quantity == quantity:
        return change.margin, change.unit_margin
    left = max(quantity - order.filled_quantity, 0)
    margin = part_of(order.margin, left, order.leaves, PAISA) if order.leaves else ZERO
    return margin, order.unit_margin if change is None else max(order.unit_margin, change.unit_margin)


def _status_under(order: Order) -> OrderStatus:
    if order.status is OrderStatus.FILLED or order.is_open:
        if order.filled_quantity >= order.quantity:
            return OrderStatus.FILLED
        return OrderStatus.PARTIALLY_FILLED if order.filled_quantity else order.status
    return order.status


def _keep_terms(order: Order, execution: ExecutionReported) -> Step:
    refused = OrderModifyRefused(
        order_id=order.order_id, account_id=order.account_id, user_id=order.user_id, reason=execution.reason
    )
    return replace(order, change=None), [refused]


def _end(order: Order, execution: ExecutionReported) -> Step:
    """Cancelled, expired or rejected with what it has; no matter whether the venue ever accepted it."""
    if order.status.is_final:
        return order, []
    status, event = _ENDINGS[execution.kind]
    broker_order_id = order.broker_order_id or execution.venue_order_id or None
    after = _next(replace(order, broker_order_id=broker_order_id), status)
    return after, [event(**fact(after), reason=execution.reason)]


def _next(order: Order, status: OrderStatus) -> Order:
    return replace(order, status=status, version=order.version + 1)
