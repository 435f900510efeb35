"""Our orders as wishes to a broker behind HTTP: one form for all of them; each broker's own words come at the call."""

from collections.abc import Sequence

from libs.common.contracts import enums
from libs.common.contracts.base import Message
from libs.common.contracts.brokers import BrokerCancelRequested, BrokerModifyRequested, BrokerOrderRequested
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared
from services.trading.domain.orders import Order


class CalledBroker:
    def __init__(self, broker: enums.Broker) -> None:
        self._broker = broker

    def submit(self, order: Order, cleared: OrderCleared) -> Sequence[Message]:
        return [
            BrokerOrderRequested(
                order_id=order.order_id,
                account_id=order.account_id,
                broker=self._broker,
                instrument=order.instrument,
                side=order.side,
                quantity=order.quantity,
                order_type=order.order_type,
                product=order.product,
                validity=order.validity,
                price=order.price,
                trigger_price=order.trigger_price,
                tag=order.tag,
                purpose=order.purpose,
                epoch=order.epoch,
                series=cleared.series,
            )
        ]

    def modify(self, order: Order, change: OrderModifyCleared) -> Sequence[Message]:
        return [
            BrokerModifyRequested(
                order_id=order.order_id,
                account_id=order.account_id,
                broker=self._broker,
                instrument=order.instrument,
                quantity=change.quantity,
                order_type=change.order_type,
                validity=order.validity,
                price=change.price,
                trigger_price=change.trigger_price,
                purpose=order.purpose,
                epoch=change.epoch,
            )
        ]

    def cancel(self, order: Order) -> Sequence[Message]:
        return [
            BrokerCancelRequested(
                order_id=order.order_id,
                account_id=order.account_id,
                broker=self._broker,
                instrument=order.instrument,
            )
        ]
