"""The decision on an order and on a change of one: the event that tells it, and what the ledger keeps of it."""

from datetime import datetime
from typing import TypeGuard

from libs.common.contracts.base import GIVEN_UP
from libs.common.contracts.enums import DenialRule, OrderPurpose, OrderType
from libs.common.contracts.ids import CorrelationId
from libs.common.contracts.orders import (
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderModifyRefused,
    OrderModifyRequested,
    OrderRequested,
    OrderTerms,
)
from services.risk.domain.halts import epoch_of
from services.risk.domain.ledger import Footprint, Reservation, propose
from services.risk.domain.money import ZERO
from services.risk.domain.rules import Denial, OrderCheck, denial

NOTHING = Footprint(0, 0, ZERO)
DISCARDED = Denial(DenialRule.GIVEN_UP, GIVEN_UP, "handled", "given up")


def decide(request: OrderRequested, check: OrderCheck) -> OrderCleared | OrderDenied:
    refused = denial(check)
    if refused is not None:
        return OrderDenied(
            **_terms(request),
            rule=refused.rule,
            reason=refused.reason,
            limit=refused.limit,
            value=refused.value,
        )
    seen = request.epoch if request.purpose is OrderPurpose.SQUARE_OFF else 0
    return OrderCleared(
        **_terms(request),
        epoch=max(seen, epoch_of(check.halts)),
        margin=check.margin,
        increasing=check.footprint.increasing,
        unit_margin=check.footprint.unit_margin,
        series=check.listed.series,
    )


def reserve(event: OrderCleared | OrderDenied, decided_at: datetime) -> Reservation:
    """What is kept of the decision. A denied order is kept too, closed, so that its id is never decided again."""
    cleared = isinstance(event, OrderCleared)
    return Reservation(
        order_id=event.order_id,
        account_id=event.account_id,
        user_id=event.user_id,
        strategy_id=event.strategy_id,
        instrument=event.instrument,
        product=event.product,
        side=event.side,
        order_type=event.order_type,
        price=event.price if cleared else None,
        trigger_price=event.trigger_price if cleared else None,
        purpose=event.purpose,
        epoch=event.epoch if isinstance(event, OrderCleared) else 0,
        footprint=footprint_of(event) if isinstance(event, OrderCleared) else NOTHING,
        decided_at=decided_at,
        closed=not cleared,
    )


def was_given_up(order: Reservation) -> bool:
    """Only trading asks for square-offs, each once: one that was denied before it came here was denied by trading."""
    return order.purpose is OrderPurpose.SQUARE_OFF and order.footprint == NOTHING


def deny_given_up(request: OrderRequested) -> OrderDenied:
    reason = "trading gave this exit up before it was decided"
    until = request.expires_at.isoformat()
    return OrderDenied(**_terms(request), rule=DenialRule.REQUEST_EXPIRED, reason=reason, limit=until, value="given up")


def give_up(request: OrderRequested) -> OrderDenied:
    """A person discarded it, since it could not be decided."""
    why = DISCARDED
    return OrderDenied(**_terms(request), rule=why.rule, reason=why.reason, limit=why.limit, value=why.value)


def give_up_change(request: OrderModifyRequested) -> OrderModifyRefused:
    return _refused(request, DISCARDED)


def footprint_of(cleared: OrderCleared | OrderModifyCleared) -> Footprint:
    return Footprint(cleared.quantity, cleared.increasing, cleared.unit_margin)


def changed_terms(order: Reservation, request: OrderModifyRequested) -> OrderTerms:
    """The order as it would be. Fields left None stay as they are; prices that the type does not take are dropped.

    A person who changes a square-off gets the rights of an exit, not those of trading.
    """
    order_type = request.order_type or order.order_type
    price = order.price if request.price is None else request.price
    trigger = order.trigger_price if request.trigger_price is None else request.trigger_price
    return OrderTerms(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        strategy_id=order.strategy_id,
        instrument=order.instrument,
        side=order.side,
        quantity=order.footprint.quantity if request.quantity is None else request.quantity,
        order_type=order_type,
        product=order.product,
        price=price if order_type in (OrderType.LIMIT, OrderType.SL) else None,
        trigger_price=trigger if order_type in (OrderType.SL, OrderType.SL_M) else None,
        purpose=OrderPurpose.EXIT if order.purpose is OrderPurpose.SQUARE_OFF else order.purpose,
        requested_at=order.decided_at,
    )


def may_change(order: Reservation | None, request: OrderModifyRequested) -> TypeGuard[Reservation]:
    """The order is the user's own, still open, and no other change of it is under way."""
    if order is None or not order.open or order.proposed is not None:
        return False
    return (order.account_id, order.user_id) == (request.account_id, request.user_id)


def refuse_change(order: Reservation | None, request: OrderModifyRequested) -> OrderModifyRefused:
    """Why `may_change` said no. Nobody hears of another person's order."""
    theirs = order is None or (order.account_id, order.user_id) != (request.account_id, request.user_id)
    if order is not None and order.open and not theirs:
        reason = f"another change of order {request.order_id} is under way"
    else:
        reason = f"order {request.order_id} is not open"
    return _refused(request, Denial(DenialRule.ORDER_NOT_OPEN, reason, "an open order", str(request.order_id)))


def decide_change(
    order: Reservation, request: OrderModifyRequested, check: OrderCheck, story: CorrelationId
) -> tuple[OrderModifyCleared | OrderModifyRefused, Reservation]:
    """The changed order is checked as a new one would be, for what it binds beyond the order as it stands."""
    refused = denial(check)
    if refused is not None:
        return _refused(request, refused), order
    terms = check.order
    seen = order.epoch if order.purpose is OrderPurpose.SQUARE_OFF else 0
    epoch = max(seen, epoch_of(check.halts))
    cleared = OrderModifyCleared(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        quantity=terms.quantity,
        order_type=terms.order_type,
        price=terms.price,
        trigger_price=terms.trigger_price,
        margin=check.margin,
        epoch=epoch,
        increasing=check.footprint.increasing,
        unit_margin=check.footprint.unit_margin,
    )
    return cleared, propose(order, footprint_of(cleared), epoch, story)


def _refused(request: OrderModifyRequested, why: Denial) -> OrderModifyRefused:
    return OrderModifyRefused(
        order_id=request.order_id,
        account_id=request.account_id,
        user_id=request.user_id,
        rule=why.rule,
        reason=why.reason,
        limit=why.limit,
        value=why.value,
    )


def _terms(request: OrderRequested) -> dict[str, object]:
    terms = dict(request.__dict__)
    del terms["expires_at"], terms["epoch"]
    return terms
