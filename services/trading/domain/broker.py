"""What order management asks of a venue, whichever it is."""

from collections.abc import Sequence
from typing import Protocol

from libs.common.contracts.base import Message
from libs.common.contracts.orders import OrderCleared, OrderModifyCleared
from services.trading.domain.orders import Order


class Broker(Protocol):
    """Puts a wish of ours into the messages that carry it to the venue.

    The messages enter the outbox in the transaction that records the attempt, so what was recorded is sent, and sent
    once. Nothing is called here: a broker behind HTTP is asked by an effect that reads those messages after the
    commit. What the venue answers comes back as ExecutionReported. See docs/decisions/0005-broker-protocol.md.
    """

    def submit(self, order: Order, cleared: OrderCleared) -> Sequence[Message]: ...

    def modify(self, order: Order, change: OrderModifyCleared) -> Sequence[Message]: ...

    def cancel(self, order: Order) -> Sequence[Message]: ...
