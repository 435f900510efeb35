"""An order as order management knows it, and the steps that we take with it (the venue's are in executions)."""

import hashlib
import re
from base64 import b32encode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from libs.common.contracts.enums import (
    DenialRule,
    OrderPurpose,
    OrderStatus,
    OrderType,
    Product,
    Side,
    Validity,
)
from libs.common.contracts.ids import AccountId, InstrumentId, OrderId, SquareOffId, StrategyId, UserId
from libs.common.contracts.orders import (
    OrderCancelRefused,
    OrderCancelRequested,
    OrderCleared,
    OrderDenied,
    OrderModifyCleared,
    OrderModifyRefused,
    OrderRequested,
    OrderSubmitted,
    OrderTerms,
)
from services.trading.domain.money import PAISA, ZERO, average, part_of, to_paise
from services.trading.domain.panics import Denial

REACHES_WITHIN = timedelta(seconds=60)
"""From the wish to the venue, or an outage would surprise its owner. Risk lets an exit through 30 s after it; the rest
is ours. A change has as long from its clearance.
"""
CANCEL_PATIENCE = timedelta(seconds=5)
"""A cancel that the venue has not answered for so long may be asked for again."""

AWAITED = frozenset({OrderStatus.SUBMITTED, OrderStatus.OUTCOME_UNKNOWN})
"""We asked the venue and have no answer."""

_TAG = re.compile("[A-Z2-7]{20}")
NEVER_SENT = "no such order was sent to a venue"
BEING_CANCELLED = "the order is being cancelled"
CHANGE_WAITED = "the change waited too long; the order stays as it was"


@dataclass(frozen=True, slots=True)
class Order:
    """`margin` is what the unfilled rest blocks, `unit_margin` what each unit of a position will that it opens.
    `change` is on its way to the venue, whose answer settles it.

    `version` counts the events said of the order. An exit of ours is REQUESTED, at version 0, until risk has decided.
    """

    order_id: OrderId
    account_id: AccountId
    user_id: UserId
    strategy_id: StrategyId | None
    instrument: InstrumentId
    side: Side
    quantity: int
    order_type: OrderType
    product: Product
    validity: Validity
    price: Decimal | None
    trigger_price: Decimal | None
    purpose: OrderPurpose
    square_off_id: SquareOffId | None
    requested_at: datetime
    tag: str
    status: OrderStatus
    version: int
    epoch: int
    margin: Decimal
    unit_margin: Decimal = ZERO
    expires_at: datetime | None = None
    filled_quantity: int = 0
    filled_value: Decimal = ZERO
    broker_order_id: str | None = None
    triggered: bool = False
    cancel_requested_at: datetime | None = None
    change: OrderModifyCleared | None = None

    @property
    def is_open(self) -> bool:
        return not self.status.is_final

    @property
    def is_exit(self) -> bool:
        """One of a square-off's own orders."""
        return self.square_off_id is not None

    @property
    def leaves(self) -> int:
        return max(self.quantity - self.filled_quantity, 0)

    @property
    def average_price(self) -> Decimal | None:
        return average(self.filled_value, self.filled_quantity) if self.filled_quantity else None

    @property
    def blocked(self) -> Decimal:
        """What the account cannot use because of this order. While a change is under way, the dearer terms."""
        if self.status.is_final:
            return ZERO
        return self.margin if self.change is None else max(self.margin, self.change.margin)


def tag_of(order_id: OrderId) -> str:
    """What brokers carry for us: 20 letters and digits, 100 bits of a digest of the order's id.

    Base 32 has no lower case, because some brokers fold it. A billion orders collide with a chance of 1 in 10^12.
    """
    return b32encode(hashlib.blake2b(order_id.bytes, digest_size=13).digest())[:20].decode()


def is_tag(text: str) -> bool:
    """Whether an order carries a tag of ours, whichever account's."""
    return _TAG.fullmatch(text) is not None


def requested(request: OrderRequested) -> Order:
    """An exit that we ask risk for."""
    return _begin(request, OrderStatus.REQUESTED, 0, request.epoch, expires_at=request.expires_at)


def submit(cleared: OrderCleared) -> tuple[Order, OrderSubmitted]:
    order = _begin(cleared, OrderStatus.SUBMITTED, 1, cleared.epoch, cleared.margin, cleared.unit_margin)
    return order, OrderSubmitted(**vars(cleared), version=1)


def deny(cleared: OrderCleared, why: Denial) -> OrderDenied:
    """What risk let through, but trading may not send any more."""
    return OrderDenied(**vars(cleared), rule=why.rule, reason=why.reason, limit=why.limit, value=why.value)


def give_up(order: Order, now: datetime) -> OrderDenied:
    """Nobody decided about our exit in time. From now on it is denied, whatever risk may still say."""
    return OrderDenied(
        **{name: getattr(order, name) for name in OrderTerms.model_fields},
        rule=DenialRule.REQUEST_EXPIRED,
        reason="risk did not decide about this exit in time",
        limit=order.expires_at and order.expires_at.isoformat(),
        value=now.isoformat(),
    )


def denied(message: OrderDenied) -> Order:
    return _begin(message, OrderStatus.DENIED, 0, 0)


def _begin(
    terms: OrderTerms,
    status: OrderStatus,
    version: int,
    epoch: int,
    margin: Decimal = ZERO,
    unit_margin: Decimal = ZERO,
    expires_at: datetime | None = None,
) -> Order:
    return Order(
        order_id=terms.order_id,
        account_id=terms.account_id,
        user_id=terms.user_id,
        strategy_id=terms.strategy_id,
        instrument=terms.instrument,
        side=terms.side,
        quantity=terms.quantity,
        order_type=terms.order_type,
        product=terms.product,
        validity=terms.validity,
        price=terms.price,
        trigger_price=terms.trigger_price,
        purpose=terms.purpose,
        square_off_id=terms.square_off_id,
        requested_at=terms.requested_at,
        tag=tag_of(terms.order_id),
        status=status,
        version=version,
        epoch=epoch,
        margin=margin,
        unit_margin=unit_margin,
        expires_at=expires_at,
    )


def spend_margin(before: Order, filled: Order, closing: int) -> tuple[Order, Decimal]:
    """What the order still sets aside after a fill, and what the position blocks that it opens; `closing` units reduce.

    Risk sets margin aside for the units that it expects to open, the last ones. Which those are the market decides: of
    two orders around a position the one that was to open may fill first, and only reduce. So what opens blocks its
    order's unit margin, set aside or not, and what is left of an order sets aside no more than all of it would block.
    What fills beyond the order's quantity fills under the change that raises it, whose report may come later, at the
    dearer of both.
    """
    opening = filled.filled_quantity - before.filled_quantity - closing
    rest, moved = _spend(before.margin, before.unit_margin, closing, opening, before.leaves)
    change = filled.change
    if change is not None:
        leaves = change.quantity - before.filled_quantity
        changed_rest, changed_moved = _spend(change.margin, change.unit_margin, closing, opening, leaves)
        change = change.model_copy(update={"margin": changed_rest})
        moved = max(moved, changed_moved) if filled.filled_quantity > filled.quantity else moved
    return replace(filled, margin=rest, change=change), moved


def _spend(margin: Decimal, unit_margin: Decimal, closing: int, opening: int, leaves: int) -> tuple[Decimal, Decimal]:
    """As differences of what is left, rounded parts add up to the rounded whole."""
    if not unit_margin:
        moved = _share(margin, closing, opening, leaves)
        return margin - moved, moved
    left = max(leaves - closing - opening, 0)
    of_the_rest = to_paise(unit_margin * left)
    return min(margin, of_the_rest), to_paise(unit_margin * (left + opening)) - of_the_rest


def _share(margin: Decimal, closing: int, opening: int, leaves: int) -> Decimal:
    """Of an order that was submitted before its unit margin was kept."""
    left_to_open = leaves - closing
    if not opening or left_to_open <= 0:
        return ZERO
    return part_of(margin, min(opening, left_to_open), left_to_open, PAISA)


def needs_cancel(order: Order, now: datetime) -> bool:
    """Once is enough, unless the venue keeps silent."""
    asked = order.cancel_requested_at
    return asked is None or abs(now - asked) >= CANCEL_PATIENCE  # by the clock of then, which may have been ahead


def cancel(order: Order, now: datetime) -> Order:
    return replace(order, cancel_requested_at=now)


def fact(order: Order) -> dict[str, Any]:
    """The fields of OrderFact."""
    return {
        "order_id": order.order_id,
        "account_id": order.account_id,
        "user_id": order.user_id,
        "strategy_id": order.strategy_id,
        "instrument": order.instrument,
        "status": order.status,
        "version": order.version,
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price,
    }


def cancel_refused(order: Order, reason: str) -> tuple[Order, OrderCancelRefused]:
    after = replace(order, version=order.version + 1)
    return after, OrderCancelRefused(
        **fact(after),
        reason=reason,
    )


def cancel_unknown(request: OrderCancelRequested) -> OrderCancelRefused:
    """We never sent such an order; it may still be on its way through risk. Version 0 precedes all of its events."""
    return OrderCancelRefused(
        order_id=request.order_id,
        account_id=request.account_id,
        user_id=request.user_id,
        instrument=InstrumentId(""),
        status=OrderStatus.REQUESTED,
        version=0,
        reason=NEVER_SENT,
    )


def refuse_change(order: Order, change: OrderModifyCleared) -> Denial | None:
    """Why these new terms cannot go to the venue; None when they can. One change at a time."""
    if order.account_id != change.account_id or order.status is OrderStatus.REQUESTED:
        return never_sent(order.order_id)
    if not order.is_open:
        return _not_open(f"the order is {order.status} already", order.status)
    if order.status is OrderStatus.OUTCOME_UNKNOWN:
        return _not_open("the venue has not told what became of the order", order.status)
    if order.cancel_requested_at is not None:
        return _not_open(BEING_CANCELLED, "being cancelled")
    if order.change is not None:
        return _not_open("another change of the order is on its way", "being changed")
    filled, quantity = order.filled_quantity, change.quantity
    if quantity <= filled:
        reason = f"quantity {quantity} must be more than the {filled} already filled"
        return Denial(DenialRule.ORDER_NOT_OPEN, reason, str(filled), str(quantity))
    return None


def never_sent(order_id: OrderId) -> Denial:
    return _not_open(NEVER_SENT, str(order_id))


def _not_open(reason: str, met: str) -> Denial:
    return Denial(DenialRule.ORDER_NOT_OPEN, reason, "an open order", met)


def change_waited(age: timedelta) -> Denial:
    limit, value = f"{REACHES_WITHIN.total_seconds():.0f} s", f"{age.total_seconds():.1f} s"
    return Denial(DenialRule.REQUEST_EXPIRED, CHANGE_WAITED, limit, value)


def modify(order: Order, change: OrderModifyCleared) -> Order:
    """Risk may have cleared it before it heard of the newest fills: those have taken their margin along already."""
    left = change.quantity - order.filled_quantity
    if change.increasing > left:
        change = change.model_copy(update={"margin": min(to_paise(change.unit_margin * left), change.margin)})
    return replace(order, change=change)


def modify_refused(change: OrderModifyCleared, why: Denial) -> OrderModifyRefused:
    return OrderModifyRefused(
        order_id=change.order_id,
        account_id=change.account_id,
        user_id=change.user_id,
        rule=why.rule,
        reason=why.reason,
        limit=why.limit,
        value=why.value,
    )
