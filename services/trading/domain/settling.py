"""Settling by hand: a person tells what became of an order that its broker never answered for, or whose end nobody saw,
once nothing else can. He tells what we lack: of what it traded, the part that was not booked before.

Only from OUTCOME_UNKNOWN, and only when the order's day is over: until then the broker's book of that day decides.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from libs.common.contracts.base import RequestRefused
from libs.common.contracts.enums import ExecutionKind, OrderStatus, SettledAs
from libs.common.contracts.orders import OrderSettled, OrderSettleRequested
from libs.common.contracts.venue import ExecutionReported
from services.trading.domain.accounts import trading_day
from services.trading.domain.book import Watch, Watched, report
from services.trading.domain.orders import Order, fact

BOOKS_CLOSE = timedelta(hours=8)
"""After midnight in India: a broker's book of the day before, and the login that reads it, are gone by then."""


def is_for_a_person(order: Order, now: datetime) -> bool:
    """Whether nobody but a person can tell any more what became of it."""
    is_over = trading_day(now - BOOKS_CLOSE) > trading_day(order.requested_at)
    return order.status is OrderStatus.OUTCOME_UNKNOWN and is_over


ENDINGS = {
    SettledAs.NOT_TAKEN: ExecutionKind.REJECTED,
    SettledAs.REJECTED: ExecutionKind.REJECTED,
    SettledAs.CANCELLED: ExecutionKind.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class SettledByHand:
    """`reports` go the way of any report of a venue: through our own topic, to the order, its position, the funds."""

    order: Order
    watched: Watched
    said: OrderSettled
    reports: tuple[ExecutionReported, ...]


def settle(
    order: Order | None, watched: Watched | None, request: OrderSettleRequested, now: datetime
) -> SettledByHand | RequestRefused:
    if order is None or order.account_id != request.account_id:
        return _refuse(request, "not_found", "there is no such order")
    refusal = _refusal(order, watched, now)
    if watched is None or refusal is not None:
        return _refuse(request, "conflict", refusal or "")
    if (wrong := _wrong(order, request)) is not None:
        return _refuse(request, "invalid", wrong)
    reason = f"settled by hand: {request.reason}"
    after = replace(order, version=order.version + 1)
    said = OrderSettled(
        **fact(after),
        settled_by=request.user_id,
        outcome=request.outcome,
        traded_quantity=request.quantity,
        traded_price=request.price,
        reason=reason,
    )
    ended = replace(watched, state=Watch.ENDED, filled_quantity=order.filled_quantity + request.quantity)
    return SettledByHand(after, ended, said, tuple(_reports(after, watched, request, reason, now)))


def _refusal(order: Order, watched: Watched | None, now: datetime) -> str | None:
    if order.status is not OrderStatus.OUTCOME_UNKNOWN:
        return f"the order is {order.status}: only one whose outcome is unknown is settled by hand"
    if watched is None:
        return "the order is at no broker that would not tell"
    if watched.state is Watch.ENDED:
        return "the order was settled already"
    if trading_day(now - BOOKS_CLOSE) <= watched.day:
        hours = BOOKS_CLOSE.seconds // 3600
        return f"the broker's book may still tell: settle it from {hours}:00 in India on the day after {watched.day}"
    return None


def _wrong(order: Order, request: OrderSettleRequested) -> str | None:
    """What is said must fit what is open of the order, and itself."""
    quantity, left = request.quantity, order.leaves
    match request.outcome:
        case SettledAs.FILLED if quantity != left:
            return f"filled is all {left} that were open, not {quantity}; what was filled in part ended as CANCELLED"
        case SettledAs.CANCELLED if not 0 <= quantity < left:
            return f"what was cancelled had traded less than the {left} that were open, not {quantity}"
        case SettledAs.NOT_TAKEN if order.broker_order_id is not None:
            return f"the broker had taken it, as {order.broker_order_id}"
        case SettledAs.NOT_TAKEN | SettledAs.REJECTED if traded := order.filled_quantity + quantity:
            return f"an order that was {request.outcome} has traded nothing, not {traded}"
        case _:
            pass
    if bool(quantity) != (request.price is not None and request.price > 0):
        return "a price belongs to what was traded, and only to that"
    return None


def _reports(
    order: Order, watched: Watched, request: OrderSettleRequested, reason: str, now: datetime
) -> list[ExecutionReported]:
    """A fill is booked on the day of its settling. Without the broker's id our tag names the order: it carried it."""
    known = request.broker_order_id or watched.broker_order_id
    named = replace(watched, broker_order_id=known or (order.tag if request.quantity else None))
    found: list[ExecutionReported] = []
    if request.quantity:
        filled = report(named, ExecutionKind.FILLED, f"{order.order_id}:settled:filled", now, reason)
        found.append(filled.model_copy(update={"quantity": request.quantity, "price": request.price}))
    ending = ENDINGS.get(request.outcome)
    if ending is not None:
        found.append(report(named, ending, f"{order.order_id}:settled:{ending.lower()}", now, reason))
    return found


def _refuse(request: OrderSettleRequested, code: str, reason: str) -> RequestRefused:
    return RequestRefused(entity_id=str(request.order_id), request=type(request).__name__, code=code, reason=reason)
