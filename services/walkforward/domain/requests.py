"""What the venue answers to a request: takes or refuses an order, changes it, cancels it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from libs.common.contracts.enums import ExecutionKind, OrderPurpose, OrderStatus, OrderType, Side, Validity
from libs.common.contracts.venue import (
    ExecutionReported,
    VenueCancelRequested,
    VenueModifyRequested,
    VenueOrderRequested,
)
from libs.common.trading_calendar import IST, MarketSession
from services.walkforward.domain.market import Listing
from services.walkforward.domain.orders import LIMITED, STOPS, Change, Order, end, expire, report, venue_order_id

GRACE = timedelta(seconds=1)
"""How long an IOC order that is still on its way may look for a market after it arrived."""
CHANGE_REACHES_WITHIN = timedelta(seconds=60)
"""As long as an order: while the venue was away its owner went by the order as it was."""


@dataclass(frozen=True, slots=True)
class Terms:
    side: Side
    quantity: int
    order_type: OrderType
    price: Decimal | None
    trigger_price: Decimal | None


def arrive(
    request: VenueOrderRequested,
    listing: Listing | None,
    session: MarketSession | None,
    now: datetime,
    latency: timedelta,
) -> Change:
    """Take the order into the book, or refuse it with a reason."""
    ends = session.end if session else now
    order = Order(
        order_id=request.order_id,
        account_id=request.account_id,
        instrument=request.instrument,
        side=request.side,
        quantity=request.quantity,
        order_type=request.order_type,
        validity=request.validity,
        price=request.price,
        trigger_price=request.trigger_price,
        status=OrderStatus.ACCEPTED,
        priority_at=now,
        active_from=now + latency,
        expires_at=_expires_at(request, now, latency, ends),
    )
    terms = Terms(request.side, request.quantity, request.order_type, request.price, request.trigger_price)
    odd_lots = request.purpose is not OrderPurpose.ENTRY
    reason = (
        _too_late(request, now)
        or refusal(request.instrument, listing, session, now)
        or flaw(terms, listing, odd_lots=odd_lots)
    )
    reason = reason or _unfit_for_auction(request.order_type, session, now)
    if reason:
        return end(order, OrderStatus.REJECTED, reason, now)
    accepted = replace(order, executions=1)
    return Change(accepted, (report(accepted, ExecutionKind.ACCEPTED, now),))


def arrive_cancelled(order: Order, now: datetime) -> Change:
    """The order came after its cancel: it is in the book, and meets no market."""
    return end(replace(order, executions=0), OrderStatus.CANCELLED, "cancelled before it came", now)


def _too_late(request: VenueOrderRequested, now: datetime) -> str:
    if request.expires_at is None or now <= request.expires_at:
        return ""
    return f"the order reached the venue {int((now - request.expires_at).total_seconds())} s after it had expired"


def _unfit_for_auction(order_type: OrderType, session: MarketSession | None, now: datetime) -> str:
    if session and session.in_closing_auction(now) and order_type in STOPS:
        return "the closing auction takes limit and market orders only"
    return ""


def without_market(order: Order, now: datetime) -> Change:
    """No price can be believed: the order waits for one, but an IOC order has no time to. A stop counts from now on."""
    if order.is_open and order.validity is Validity.IOC and not order.is_dormant and order.active_from <= now:
        return expire(order, now)
    return Change(replace(order, seen=now) if order.is_open and order.is_dormant else order)


def waited_too_long(waited: timedelta) -> str:
    """Why a change that waited so long since it was sent is not made any more; empty when it is."""
    if waited < CHANGE_REACHES_WITHIN:
        return ""
    return f"the change reached the venue {int(waited.total_seconds())} s after it was sent: the order stays as it was"


def modify(
    order: Order | None,
    request: VenueModifyRequested,
    listing: Listing | None,
    session: MarketSession | None,
    now: datetime,
) -> Change | str:
    """New terms, or why not. The order looks at the market afresh; it keeps its place in the queue only
    when nothing but its quantity changes, and that downwards."""
    if order is None or order.account_id != request.account_id:
        return "the venue has no such order"
    if not order.is_open:
        return f"the order is {order.status} already"
    terms = Terms(order.side, request.quantity, request.order_type, request.price, request.trigger_price)
    reason = flaw(terms, listing, odd_lots=terms.quantity == order.quantity)
    if not reason and terms.order_type is not order.order_type:
        reason = _unfit_for_auction(terms.order_type, session, now)
    if not reason and listing and session:
        reason = _closed(listing, session, now)
    if reason:
        return reason
    if terms.quantity <= order.filled:
        return f"quantity {terms.quantity} must be more than the {order.filled} already filled"
    same = (order.order_type, order.price, order.trigger_price) == (terms.order_type, terms.price, terms.trigger_price)
    after = replace(
        order,
        quantity=terms.quantity,
        order_type=terms.order_type,
        price=terms.price,
        trigger_price=terms.trigger_price,
        triggered=order.triggered and order.order_type is terms.order_type,
        priority_at=order.priority_at if same and terms.quantity <= order.quantity else now,
        seen=order.seen if same else None,
        executions=order.executions + 1,
    )
    said = report(after, ExecutionKind.MODIFIED, now, quantity=terms.quantity, price=terms.price)
    said = said.model_copy(update={"order_type": terms.order_type, "trigger_price": terms.trigger_price})
    return Change(after, (said,))


def cancel(order: Order | None, request: VenueCancelRequested, now: datetime) -> Change | str:
    if order is None or order.account_id != request.account_id:
        return "the venue has no such order"
    if not order.is_open:
        return f"the order is {order.status} already"
    return end(order, OrderStatus.CANCELLED, "cancelled on request", now)


def refuse(
    kind: ExecutionKind,
    request: VenueOrderRequested | VenueModifyRequested | VenueCancelRequested,
    order: Order | None,
    reason: str,
    reference: str,
    now: datetime,
) -> ExecutionReported:
    """The order stays as it is. `reference` makes the refusal's id: it belongs to the request, not to the order."""
    ours = order is not None and order.is_open and order.account_id == request.account_id
    return ExecutionReported(
        order_id=request.order_id,
        account_id=request.account_id,
        instrument=request.instrument,
        kind=kind,
        execution_id=reference,
        venue_order_id=venue_order_id(request.order_id),
        leaves_quantity=order.leaves if ours and order else 0,
        reason=reason,
        executed_at=now,
    )


def refusal(instrument: str, listing: Listing | None, session: MarketSession | None, now: datetime) -> str:
    """Why no order of this instrument can be taken now; empty when one can."""
    if listing is None:
        return f"{instrument} is not in the contract master"
    if not listing.tradable:
        return f"{instrument} is not tradable"
    if session is None:
        return f"{listing.exchange} is closed on {now.astimezone(IST):%Y-%m-%d}"
    return _closed(listing, session, now)


def _closed(listing: Listing, session: MarketSession, now: datetime) -> str:
    if session.is_open(now) or session.in_closing_auction(now):
        return ""
    hours = f"{session.open.astimezone(IST):%H:%M} to {session.end.astimezone(IST):%H:%M}"
    return f"{listing.exchange} is closed at {now.astimezone(IST):%H:%M}; it trades {hours}"


def flaw(terms: Terms, listing: Listing | None, *, odd_lots: bool) -> str:
    """What is wrong with the terms themselves; empty when nothing is. `odd_lots` may be closed, not opened."""
    lot, step = (listing.lot_size, listing.tick_size) if listing else (1, Decimal("0.01"))
    if terms.quantity <= 0 or (terms.quantity % lot and not odd_lots):
        return f"quantity {terms.quantity} is not a multiple of the lot size {lot}"
    if terms.order_type in LIMITED and not _is_on_tick(terms.price, step):
        return f"price {terms.price} is not a positive multiple of the tick size {step}"
    if terms.order_type in STOPS and not _is_on_tick(terms.trigger_price, step):
        return f"trigger price {terms.trigger_price} is not a positive multiple of the tick size {step}"
    if terms.order_type is OrderType.SL and _worse_than_trigger(terms):
        return f"limit price {terms.price} is on the wrong side of trigger price {terms.trigger_price}"
    return ""


def _is_on_tick(price: Decimal | None, step: Decimal) -> bool:
    return price is not None and price.is_finite() and price > 0 and price % step == 0


def _worse_than_trigger(terms: Terms) -> bool:
    """A stop-loss limit must leave room beyond its trigger: a buyer's above it, a seller's below."""
    if terms.price is None or terms.trigger_price is None:
        return False
    return (terms.price - terms.trigger_price) * terms.side.sign < 0


def _expires_at(request: VenueOrderRequested, now: datetime, latency: timedelta, session_ends: datetime) -> datetime:
    if request.validity is Validity.IOC and request.order_type not in STOPS:
        return min(now + latency + GRACE, session_ends)
    return session_ends
