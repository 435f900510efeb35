"""Our orders in the words of the paper venue."""

from collections.abc import Sequence

from libs.common.contracts.base import Message
from libs.common.contracts.enums import OrderPurpose
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared
from libs.common.contracts.venue import VenueCancelRequested, VenueModifyRequested, VenueOrderRequested
from services.trading.domain.orders import REACHES_WITHIN, Order


class PaperBroker:
    def submit(self, order: Order, cleared: OrderCleared) -> Sequence[Message]:
        return [
            VenueOrderRequested(
                order_id=order.order_id,
                account_id=order.account_id,
                instrument=order.instrument,
                side=order.side,
                quantity=order.quantity,
                order_type=order.order_type,
                product=order.product,
                validity=order.validity,
                price=order.price,
                trigger_price=order.trigger_price,
                tag=order.tag,
                expires_at=order.requested_at + REACHES_WITHIN,
                purpose=_purpose(order),
            )
        ]

    def modify(self, order: Order, change: OrderModifyCleared) -> Sequence[Message]:
        return [
            VenueModifyRequested(
                order_id=order.order_id,
                account_id=order.account_id,
                instrument=order.instrument,
                quantity=change.quantity,
                order_type=change.order_type,
                price=change.price,
                trigger_price=change.trigger_price,
            )
        ]

    def cancel(self, order: Order) -> Sequence[Message]:
        return [VenueCancelRequested(order_id=order.order_id, account_id=order.account_id, instrument=order.instrument)]


def _purpose(order: Order) -> OrderPurpose:
    """The venue knows no positions, and lets exits alone be in odd lots. An order that was not called an exit and opens
    nothing, as risk found, which set no margin aside for it, is one.
    """
    return OrderPurpose.EXIT if order.purpose is OrderPurpose.ENTRY and not order.margin else order.purpose
